"""Commands for devices in Cassandra."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from edgeferry.core.changes import RPC_OPEN, RpcStatus
from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.side_by_side import side_by_side
from edgeferry.core.store import Rpc, RpcNews, Told
from edgeferry.store.cassandra_rpc_ends import CassandraRpcEnds
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql
from edgeferry.store.decisions import raised
from edgeferry.store.values import check_news, check_row

_TIMED = "USING TIMESTAMP ?"
_ROW = "device_id = ? AND created_time = ? AND rpc_id = ?"

_LOCKS = 64
"""States of different commands are raised side by side."""
_PLACES = 10_000

_Place = tuple[str, int, str]
"""Device, time and id: the primary key."""


class CassandraRpcs:
    """The port core.store.RpcStore."""

    def __init__(self, *, session: CassandraSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        columns = ", ".join(Rpc._fields)
        self._put_place = session.query(
            insert_cql("rpc_place_cf", ("device_id", "created_time", "rpc_id"))
        )
        self._place = session.query(
            "SELECT device_id, created_time, rpc_id FROM rpc_place_cf WHERE rpc_id = ?"
        )
        self._save = session.query(insert_cql("rpc_cf", Rpc._fields, _TIMED))
        self._get = session.query(f"SELECT {columns}, writetime(status) FROM rpc_cf WHERE {_ROW}")
        self._of_device = session.query(
            "SELECT device_id, created_time, rpc_id, status FROM rpc_cf WHERE device_id = ?"
        )
        self._changing = [asyncio.Lock() for _ in range(_LOCKS)]
        self._places_known: dict[str, _Place] = {}
        self._ends = CassandraRpcEnds(session)

    async def create(self, rpc: Rpc) -> bool:
        """Raises StoreUnavailable, Unstorable."""
        check_row(rpc)
        async with self._lock(rpc.rpc_id):
            if await self._stored(rpc.rpc_id) is not None:
                return False
            place = (rpc.device_id, rpc.created_time, rpc.rpc_id)
            requests: list[Awaitable[object]] = [self._session.rows(self._put_place, place)]
            if rpc.status in RPC_OPEN:
                requests.append(self._ends.add(rpc))
            await side_by_side(requests)
            self._know(place)
            now = self._clock.now_ms() * MICROS_PER_MS
            await self._session.rows(self._save, (*rpc, now))
            return True

    async def advance(self, news: RpcNews) -> Told | None:
        """Raises StoreUnavailable, Unstorable."""
        check_news(news)
        async with self._lock(news.rpc_id):
            stored = await self._stored(news.rpc_id)
            if stored is None:
                return None
            before, written = stored
            now = raised(before, news)
            if now != before:
                timestamp = max(self._clock.now_ms() * MICROS_PER_MS, written + 1)
                await self._session.rows(self._save, (*now, timestamp))
                if now.status not in RPC_OPEN:
                    await self._ends.remove(now)
            return Told(before, now)

    def _lock(self, rpc_id: str) -> asyncio.Lock:
        return self._changing[hash(rpc_id) % _LOCKS]

    async def get(self, rpc_id: str) -> Rpc | None:
        stored = await self._stored(rpc_id)
        return stored[0] if stored is not None else None

    async def _stored(self, rpc_id: str) -> tuple[Rpc, int] | None:
        """And its timestamp."""
        if rpc_id in self._places_known:
            return await self._at(self._places_known[rpc_id])
        for place in await self._session.rows(self._place, (rpc_id,)) if rpc_id else ():
            self._know(place)
            return await self._at(place)
        return None

    def _know(self, place: Sequence[Any]) -> None:
        """It stays as it is: states of a command follow each other soon."""
        device_id, created_time, rpc_id = place
        self._places_known[rpc_id] = (device_id, created_time, rpc_id)
        if len(self._places_known) > _PLACES:
            del self._places_known[next(iter(self._places_known))]

    async def _at(self, place: Sequence[Any]) -> tuple[Rpc, int] | None:
        for *cells, written in await self._session.rows(self._get, place):
            rpc = Rpc._make(cells)
            return rpc._replace(status=RpcStatus(rpc.status)), written
        return None

    async def pending(self, device_id: str) -> Sequence[Rpc]:
        places = await self._places(device_id, RpcStatus.QUEUED)
        found = await self._rpcs(places[::-1])
        return [rpc for rpc in found if rpc.status is RpcStatus.QUEUED]

    async def page(
        self, device_id: str, status: RpcStatus | None, limit: int, skip: int
    ) -> tuple[Sequence[Rpc], int]:
        places = await self._places(device_id, status)
        return await self._rpcs(places[skip : skip + limit]), len(places)

    async def _places(self, device_id: str, status: RpcStatus | None) -> list[_Place]:
        """The newest first."""
        rows = await self._session.rows(self._of_device, (device_id,)) if device_id else []
        return [
            (device, created, rpc_id)
            for device, created, rpc_id, stands in rows
            if stands == status or (status is None and stands != RpcStatus.DELETED)
        ]

    async def _rpcs(self, places: Sequence[_Place]) -> list[Rpc]:
        found = await side_by_side(self._at(place) for place in places)
        return [stored[0] for stored in found if stored is not None]

    async def due(self, now_ms: int, limit: int) -> Sequence[Rpc]:
        ends = await self._ends.upto(now_ms, limit)
        found = await side_by_side(self._stored(end.rpc_id) for end in ends)
        due = []
        for stored in found:
            if stored is not None and stored[0].status in RPC_OPEN:
                due.append(stored[0])
            elif stored is not None:
                await self._ends.remove(stored[0])  # a crash came between
        return due

    async def expire(self, before_ms: int, limit: int) -> int:
        """None: rows go by themselves, by their time to live."""
        return 0
