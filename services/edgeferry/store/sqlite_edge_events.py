"""The Edge queue in SQLite: rows by (edge, lane, seq), and a head for each lane."""

import json
from collections.abc import Sequence
from typing import Any

from edgeferry.core.clock import Clock
from edgeferry.core.store import EdgeEventRow, QueuedEvent, QueueEnds, QueueHead
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_writer import Execute, SqliteWriter

_ROWS_READ = 5_000
"""At most, by one read: a batch of the link has fewer."""

_INSERT = f"INSERT INTO edge_events VALUES ({','.join('?' * 13)})"
_HEAD = "SELECT first, next, sources FROM edge_event_heads WHERE edge = ? AND lane = ?"
_SET_HEAD = "INSERT OR REPLACE INTO edge_event_heads VALUES (?, ?, ?, ?, ?)"
_RESTORE = f"INSERT OR REPLACE INTO edge_events VALUES ({','.join('?' * 13)})"
_HEADS = """
SELECT json_group_array(json_array(edge, lane, first, next, json(sources))) FROM
    (SELECT * FROM edge_event_heads ORDER BY edge, lane)
"""
_ENDS = """
SELECT json_group_array(json_array(first, next)) FROM edge_event_heads
WHERE edge = ? AND lane = ?
"""
_SHOWN = """
json_array(lane, seq, queued_ms, created_time, action, type, entity_type, entity_id, uid,
    traceparent, origin, hex(value))
"""
_READ = f"""
SELECT json_group_array({_SHOWN}) FROM (
    SELECT *, sum(length(value)) OVER (ORDER BY seq) AS upto FROM (
        SELECT * FROM edge_events WHERE edge = ? AND lane = ? AND seq >= ?
        ORDER BY seq LIMIT {_ROWS_READ})
    ORDER BY seq)
WHERE upto <= ? OR upto = length(value)
"""
_SIZE = """
SELECT json_array(json_array(coalesce(sum(length(value)), 0))) FROM edge_events
WHERE edge = ? AND lane = ? AND seq >= ?
"""
_TIME = "edge = ? AND queued_ms >= ? AND queued_ms < ?"
_FIND = f"""
SELECT json_group_array({_SHOWN}) FROM (
    SELECT * FROM edge_events WHERE {_TIME}
    ORDER BY queued_ms DESC, lane, seq DESC LIMIT ? OFFSET ?)
"""
_COUNT = f"SELECT json_array(json_array(count(*))) FROM edge_events WHERE {_TIME}"
_DELETE = "DELETE FROM edge_events WHERE edge = ? AND lane = ? AND seq < ?"
_RAISE = """
UPDATE edge_event_heads SET first = max(first, min(?, next)) WHERE edge = ? AND lane = ?
"""
_EXPIRED = """
SELECT edge, lane, max(next - ?, coalesce((SELECT min(seq) FROM edge_events AS e
    WHERE e.edge = h.edge AND e.lane = h.lane AND e.queued_ms >= ?), next))
FROM edge_event_heads AS h
"""


class SqliteEdgeEvents:
    """The port core.store.EdgeEventStore."""

    def __init__(self, *, writer: SqliteWriter, reader: SqliteReader, clock: Clock) -> None:
        self._writer = writer
        self._reader = reader
        self._clock = clock

    async def append(self, rows: Sequence[EdgeEventRow]) -> None:
        if rows:
            now_ms = self._clock.now_ms()
            await self._writer.run(lambda execute: _append(execute, rows, now_ms))

    async def ends(self, edge_id: str, lane: str) -> QueueEnds:
        rows = await self._reader.rows(_ENDS, (edge_id, lane))
        return QueueEnds(*rows[0]) if rows else QueueEnds(0, 0)

    async def read(
        self, edge_id: str, lane: str, seq: int, max_bytes: int
    ) -> Sequence[QueuedEvent]:
        return _events(await self._reader.rows(_READ, (edge_id, lane, seq, max_bytes)))

    async def size(self, edge_id: str, lane: str, seq: int) -> int:
        return int((await self._reader.rows(_SIZE, (edge_id, lane, seq)))[0][0])

    async def find(
        self, edge_id: str, start_ms: int, end_ms: int, limit: int, skip: int = 0
    ) -> tuple[Sequence[QueuedEvent], int]:
        within = (edge_id, start_ms, end_ms)
        found = await self._reader.rows(_FIND, (*within, limit, skip))
        return _events(found), int((await self._reader.rows(_COUNT, within))[0][0])

    async def drop(self, edge_id: str, lane: str, below: int) -> None:
        await self._writer.run(lambda execute: _drop(execute, edge_id, lane, below))

    async def expire(self, before_ms: int, most: int) -> int:
        return await self._writer.run(lambda execute: _expire(execute, before_ms, most))

    async def restore(self, edge_id: str, events: Sequence[QueuedEvent]) -> None:
        await self._writer.run(lambda execute: _restore(execute, edge_id, events))

    async def restore_heads(self, heads: Sequence[QueueHead]) -> None:
        await self._writer.run(lambda execute: _restore_heads(execute, heads))

    async def heads(self) -> Sequence[QueueHead]:
        return [QueueHead(*row) for row in await self._reader.rows(_HEADS, ())]


def _restore(execute: Execute, edge_id: str, events: Sequence[QueuedEvent]) -> None:
    for event in events:
        execute(_RESTORE, (edge_id, *event))


def _restore_heads(execute: Execute, heads: Sequence[QueueHead]) -> None:
    for head in heads:
        execute(_SET_HEAD, (*head[:-1], json.dumps(dict(head.sources))))


def _append(execute: Execute, rows: Sequence[EdgeEventRow], now_ms: int) -> None:
    """Runs in the writer's thread, so that nothing comes between reading and writing."""
    heads: dict[tuple[str, str], tuple[int, int, dict[str, int]]] = {}
    for row in rows:
        lane = (row.edge_id, row.lane)
        if lane not in heads:
            found = execute(_HEAD, lane).fetchone()
            heads[lane] = (found[0], found[1], json.loads(found[2])) if found else (0, 0, {})
        first, seq, sources = heads[lane]
        if row.offset < sources.get(row.source, 0):
            continue
        execute(_INSERT, (*lane, seq, now_ms, *row[4:]))
        heads[lane] = (first, seq + 1, {**sources, row.source: row.offset + 1})
    for lane, (first, seq, sources) in heads.items():
        execute(_SET_HEAD, (*lane, first, seq, json.dumps(sources)))


def _drop(execute: Execute, edge_id: str, lane: str, below: int) -> int:
    execute(_RAISE, (below, edge_id, lane))
    return execute(_DELETE, (edge_id, lane, below)).rowcount


def _expire(execute: Execute, before_ms: int, most: int) -> int:
    expired = execute(_EXPIRED, (most, before_ms)).fetchall()
    return sum(_drop(execute, edge_id, lane, below) for edge_id, lane, below in expired)


def _events(rows: Sequence[Sequence[Any]]) -> list[QueuedEvent]:
    return [QueuedEvent._make([*cells, bytes.fromhex(value)]) for *cells, value in rows]
