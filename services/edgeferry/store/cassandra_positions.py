"""Positions of streams in Cassandra."""

import asyncio
from collections.abc import Mapping

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.store import Position
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql

_SAVE = insert_cql(
    "sync_position_cf",
    ("stream", "epoch", "offset", "incarnation", "detail"),
    "USING TIMESTAMP ?",
)
_LOAD = """
SELECT epoch, offset, incarnation, detail, writetime(epoch) FROM sync_position_cf WHERE stream = ?
"""

_ALL = "SELECT stream, epoch, offset, incarnation, detail FROM sync_position_cf"


class CassandraPositions:
    """The port core.store.PositionStore. A later save wins also when the clock went back:
    its timestamp is above the one that stands."""

    def __init__(self, *, session: CassandraSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._save = session.query(_SAVE)
        self._load = session.query(_LOAD)
        self._all = session.query(_ALL)
        self._saving = asyncio.Lock()
        self._written: dict[str, int] = {}

    async def load(self, stream: str) -> Position | None:
        rows = await self._session.rows(self._load, (stream,))
        if not rows or rows[0][0] is None:
            return None
        epoch, offset, incarnation, detail, written = rows[0]
        self._written[stream] = max(written, self._written.get(stream, 0))
        return Position(epoch, offset, incarnation or "", detail or "")

    async def all(self) -> Mapping[str, Position]:
        rows = await self._session.rows(self._all, ())
        return {
            stream: Position(epoch, offset, incarnation or "", detail or "")
            for stream, epoch, offset, incarnation, detail in rows
            if epoch is not None
        }

    async def save(self, stream: str, position: Position) -> None:
        async with self._saving:
            if stream not in self._written:
                await self.load(stream)
            now = self._clock.now_ms() * MICROS_PER_MS
            # noted before it is written: also a save that failed may stand
            timestamp = self._written[stream] = max(now, self._written.get(stream, 0) + 1)
            await self._session.rows(self._save, (stream, *position, timestamp))
