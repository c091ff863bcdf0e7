"""The Edge queue in Cassandra: rows by (edge, lane, day), and a head for each lane.

Rows are written first, then the head that makes them count: what a crash leaves above the
head is written again, the same, by the repeated append.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.side_by_side import side_by_side
from edgeferry.core.store import EdgeEventRow, QueuedEvent, QueueEnds, QueueHead
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql

_DAY_MS = 86_400_000
_ROWS_READ = 1_000
"""At most, by one read."""

_EVENT = (
    *("queued_ms", "created_time", "action", "type", "entity_type", "entity_id", "uid"),
    *("traceparent", "origin", "value"),
)
_DAY = "edge_id = ? AND lane = ? AND day = ?"
_FROM = f"FROM edge_event_cf WHERE {_DAY} AND seq_id >= ? AND seq_id < ?"


class _Head(NamedTuple):
    """``days``: the seq that each day begins at; empty days have none. ``written``: the
    cell's timestamp."""

    first: int = 0
    next: int = 0
    days: tuple[tuple[int, int], ...] = ()
    sources: tuple[tuple[str, int], ...] = ()
    written: int = 0

    def pack(self) -> str:
        return json.dumps(self[:-1])

    @staticmethod
    def unpack(text: str, written: int) -> "_Head":
        first, end, days, sources = json.loads(text)
        return _Head(first, end, tuple(map(tuple, days)), tuple(map(tuple, sources)), written)

    def spans(self, seq: int) -> list[tuple[int, int, int]]:
        """Day, its first seq from ``seq`` on, and the seq after its last."""
        if not self.days:
            return []
        ends = [start for _, start in self.days[1:]] + [self.next]
        found = [
            (day, max(seq, self.first, start), end)
            for (day, start), end in zip(self.days, ends, strict=True)
        ]
        return [span for span in found if span[1] < span[2]]


class CassandraEdgeEvents:
    """The port core.store.EdgeEventStore."""

    def __init__(self, *, session: CassandraSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        columns = ("edge_id", "lane", "day", "seq_id", *_EVENT)
        shown = ", ".join(("lane", "seq_id", *_EVENT))
        self._insert = session.query(insert_cql("edge_event_cf", columns))
        self._read = session.query(f"SELECT {shown} {_FROM} LIMIT {_ROWS_READ}", paged=False)
        self._times = session.query(f"SELECT seq_id, queued_ms {_FROM}")
        self._values = session.query(f"SELECT value {_FROM}")
        self._delete = session.query(f"DELETE FROM edge_event_cf WHERE {_DAY} AND seq_id < ?")
        self._head = session.query(
            "SELECT head, writetime(head) FROM edge_event_head_cf WHERE edge_id = ? AND lane = ?"
        )
        self._lanes = session.query("SELECT lane FROM edge_event_head_cf WHERE edge_id = ?")
        self._all = session.query("SELECT edge_id, lane FROM edge_event_head_cf")
        self._save = session.query(
            insert_cql("edge_event_head_cf", ("edge_id", "lane", "head"), "USING TIMESTAMP ?")
        )
        self._changing = asyncio.Lock()  # a head is read and then written

    async def append(self, rows: Sequence[EdgeEventRow]) -> None:
        """Raises StoreUnavailable."""
        by_lane: dict[tuple[str, str], list[EdgeEventRow]] = {}
        for row in rows:
            by_lane.setdefault((row.edge_id, row.lane), []).append(row)
        async with self._changing:
            for lane, of_lane in by_lane.items():
                await self._append(lane, of_lane)

    async def _append(self, lane: tuple[str, str], rows: Sequence[EdgeEventRow]) -> None:
        head = await self._head_of(*lane)
        now_ms = self._clock.now_ms()
        day = now_ms - now_ms % _DAY_MS
        if head.days:
            day = max(day, head.days[-1][0])  # also when the clock goes back
        sources, seq, cells = dict(head.sources), head.next, []
        for row in rows:
            if row.offset < sources.get(row.source, 0):
                continue
            cells.append((*lane, day, seq, now_ms, *row[4:]))
            sources[row.source] = row.offset + 1
            seq += 1
        if not cells:
            return
        await side_by_side(self._session.rows(self._insert, one) for one in cells)
        days = head.days
        if not days or days[-1][0] != day:
            days = (*days, (day, head.next))
        await self._set_head(
            lane, head._replace(next=seq, days=days, sources=tuple(sources.items()))
        )

    async def _head_of(self, edge_id: str, lane: str) -> _Head:
        rows = await self._session.rows(self._head, (edge_id, lane))
        return _Head.unpack(*rows[0]) if rows else _Head()

    async def _set_head(self, lane: tuple[str, str], head: _Head) -> None:
        timestamp = max(self._clock.now_ms() * MICROS_PER_MS, head.written + 1)
        await self._session.rows(self._save, (*lane, head.pack(), timestamp))

    async def ends(self, edge_id: str, lane: str) -> QueueEnds:
        head = await self._head_of(edge_id, lane)
        return QueueEnds(head.first, head.next)

    async def read(
        self, edge_id: str, lane: str, seq: int, max_bytes: int
    ) -> Sequence[QueuedEvent]:
        head = await self._head_of(edge_id, lane)
        found: list[QueuedEvent] = []
        size = 0
        for day, start, end in head.spans(seq)[:1]:
            for row in await self._session.rows(self._read, (edge_id, lane, day, start, end)):
                event = QueuedEvent(*row)
                size += len(event.value)
                if found and size > max_bytes:
                    break
                found.append(event)
        return found

    async def size(self, edge_id: str, lane: str, seq: int) -> int:
        total = 0
        for span in (await self._head_of(edge_id, lane)).spans(seq):
            rows = await self._session.rows(self._values, (edge_id, lane, *span))
            total += sum(len(value) for (value,) in rows)
        return total

    async def find(
        self, edge_id: str, start_ms: int, end_ms: int, limit: int, skip: int = 0
    ) -> tuple[Sequence[QueuedEvent], int]:
        places: list[tuple[int, str, int, int]] = []  # time, lane, seq, day
        for (lane,) in await self._session.rows(self._lanes, (edge_id,)):
            for day, start, end in (await self._head_of(edge_id, lane)).spans(0):
                if day < end_ms and start_ms < day + _DAY_MS:
                    times = await self._session.rows(self._times, (edge_id, lane, day, start, end))
                    places += [(at, lane, seq, day) for seq, at in times if start_ms <= at < end_ms]
        places.sort(key=lambda place: (-place[0], place[1], -place[2]))
        found: list[QueuedEvent] = []
        for _, lane, seq, day in places[skip : skip + limit]:
            rows = await self._session.rows(self._read, (edge_id, lane, day, seq, seq + 1))
            found += [QueuedEvent(*row) for row in rows]
        return found, len(places)

    async def drop(self, edge_id: str, lane: str, below: int) -> None:
        async with self._changing:
            await self._drop((edge_id, lane), await self._head_of(edge_id, lane), below)

    async def _drop(self, lane: tuple[str, str], head: _Head, below: int) -> int:
        """The head first: nobody then reads what is about to go."""
        first = max(head.first, min(below, head.next))
        if first == head.first:
            return 0
        raised = head._replace(first=first)
        held = {day for day, _, _ in raised.spans(0)}
        kept = tuple(entry for entry in head.days if entry[0] in held)
        await self._set_head(lane, raised._replace(days=kept))
        for day, _, _ in head.spans(0):
            await self._session.rows(self._delete, (*lane, day, first))
        return first - head.first

    async def expire(self, before_ms: int, most: int) -> int:
        gone = 0
        for edge_id, lane in await self._session.rows(self._all, ()):
            async with self._changing:
                head = await self._head_of(edge_id, lane)
                below = max(head.next - most, await self._older((edge_id, lane), head, before_ms))
                gone += await self._drop((edge_id, lane), head, below)
        return gone

    async def _older(self, lane: tuple[str, str], head: _Head, before_ms: int) -> int:
        """The first seq that was not queued before."""
        for day, start, end in head.spans(0):
            if day + _DAY_MS <= before_ms:
                continue
            times: list[Any] = await self._session.rows(self._times, (*lane, day, start, end))
            kept = [seq for seq, queued_ms in times if queued_ms >= before_ms]
            if kept:
                return int(min(kept))
        return head.next

    async def restore(self, edge_id: str, events: Sequence[QueuedEvent]) -> None:
        by_lane: dict[str, list[QueuedEvent]] = {}
        for event in events:
            by_lane.setdefault(event.lane, []).append(event)
        async with self._changing:
            for lane, of_lane in by_lane.items():
                await self._restore((edge_id, lane), of_lane)

    async def _restore(self, lane: tuple[str, str], events: Sequence[QueuedEvent]) -> None:
        head = await self._head_of(*lane)
        new = [event for event in events if not head.days or event.seq >= head.next]
        if not new:
            return
        days, cells = list(head.days), []
        for event in new:
            day = event.queued_ms - event.queued_ms % _DAY_MS
            if not days or day > days[-1][0]:
                days.append((day, event.seq))
            cells.append((*lane, days[-1][0], *event[1:]))
        await side_by_side(self._session.rows(self._insert, one) for one in cells)
        first = head.first if head.days else new[0].seq
        await self._set_head(
            lane, head._replace(first=first, next=new[-1].seq + 1, days=tuple(days))
        )

    async def restore_heads(self, heads: Sequence[QueueHead]) -> None:
        async with self._changing:
            for edge_id, lane, start, end, sources in heads:
                head = await self._head_of(edge_id, lane)
                await self._set_head(
                    (edge_id, lane),
                    head._replace(first=start, next=end, sources=tuple(sources.items())),
                )

    async def heads(self) -> Sequence[QueueHead]:
        found = []
        for edge_id, lane in sorted(await self._session.rows(self._all, ())):
            head = await self._head_of(edge_id, lane)
            found.append(QueueHead(edge_id, lane, head.first, head.next, dict(head.sources)))
        return found
