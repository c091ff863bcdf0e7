"""Time series in SQLite: history by (entity, key, ts), latest by (entity, key)."""

import json
from collections.abc import Sequence
from typing import Literal

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import TsEntry
from edgeferry.core.merge import newest_allowed_for_latest, wins_latest
from edgeferry.core.node import TimeseriesWrite
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.sqlite_ids import SqliteIds
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_values import VALUE_SQL, cell_of, value_of
from edgeferry.store.sqlite_writer import Cell, Insert, Job, SqliteWriter
from edgeferry.store.values import check_writes

PURGE_EVERY_SECONDS = 1.0
PURGE_ROWS = 50_000

UPSERT_HISTORY = Insert(
    "INSERT INTO history (entity, key, ts, stamp, kind, value, expires)",
    7,
    "ON CONFLICT (entity, key, ts) DO UPDATE SET stamp = excluded.stamp, kind = excluded.kind,"
    " value = excluded.value, expires = excluded.expires WHERE excluded.stamp > history.stamp",
)
UPSERT_LATEST = Insert(
    "INSERT INTO latest (entity, key, ts, stamp, kind, value)",
    6,
    "ON CONFLICT (entity, key) DO UPDATE SET ts = excluded.ts, stamp = excluded.stamp,"
    " kind = excluded.kind, value = excluded.value"
    " WHERE (excluded.ts, excluded.stamp) > (latest.ts, latest.stamp)",
)
PURGE = (
    "DELETE FROM history WHERE (entity, key, ts) IN"
    " (SELECT entity, key, ts FROM history WHERE expires <= ? ORDER BY expires LIMIT ?)"
)

_ENTITY = "(SELECT id FROM entities WHERE entity_type = ? AND entity_id = ?)"
_LATEST = f"""
SELECT json_group_array(json_array(name, ts, kind, shown)) FROM (
    SELECT keys.key AS name, ts, kind, {VALUE_SQL} AS shown
    FROM latest JOIN keys ON keys.id = latest.key
    WHERE latest.entity = {_ENTITY} {{narrow}} ORDER BY keys.key)
"""
LATEST_ALL = _LATEST.format(narrow="")
LATEST_SOME = _LATEST.format(narrow="AND keys.key IN (SELECT value FROM json_each(?))")
KEYS = f"""
SELECT json_group_array(json_array(name)) FROM (
    SELECT keys.key AS name FROM latest JOIN keys ON keys.id = latest.key
    WHERE latest.entity = {_ENTITY} ORDER BY keys.key)
"""
_HISTORY = f"""
SELECT json_group_array(json_array(ts, kind, shown)) FROM (
    SELECT ts, kind, {VALUE_SQL} AS shown FROM history
    WHERE entity = {_ENTITY} AND key = (SELECT id FROM keys WHERE key = ?)
        AND ts >= ? AND ts < ? AND (expires IS NULL OR expires > ?)
    ORDER BY ts {{order}} LIMIT ?)
"""
HISTORY = {"ASC": _HISTORY.format(order="ASC"), "DESC": _HISTORY.format(order="DESC")}


class SqliteTimeseries:
    """The port core.store.TimeseriesStore."""

    def __init__(
        self,
        *,
        writer: SqliteWriter,
        reader: SqliteReader,
        ids: SqliteIds,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._next_purge = clock.monotonic()

    async def save(self, writes: Sequence[TimeseriesWrite]) -> None:
        """Raises StoreUnavailable, Unstorable (with the write's index; nothing is stored)."""
        if not writes:
            return
        check_writes(writes)
        await self._ids.resolve(writes)
        job, future = self._encode(writes)
        if job.cells:
            unsaved = self._ids.attach(job)
            self._add_purge(job)
            await self._writer.write(job)
            unsaved.saved()
        if future:
            self._metrics.future_ts(future)

    def _encode(self, writes: Sequence[TimeseriesWrite]) -> tuple[Job, int]:
        """The rows, and how many values are too far ahead for latest."""
        history: list[Cell] = []
        newest: dict[tuple[int, int], tuple[int, int, int, Cell]] = {}
        limit = newest_allowed_for_latest(self._clock.now_ms())
        future = 0
        for index, write in enumerate(writes):
            try:
                future += self._encode_one(write, history, newest, limit)
            except Unstorable as error:
                raise Unstorable(str(error), index) from None
        job = Job()
        if history:
            job.add(UPSERT_HISTORY, history)
        if newest:
            job.add(UPSERT_LATEST, [c for row in newest.items() for part in row for c in part])
        return job, future

    def _encode_one(
        self,
        write: TimeseriesWrite,
        history: list[Cell],
        newest: dict[tuple[int, int], tuple[int, int, int, Cell]],
        limit: int,
    ) -> int:
        """Add the rows of one write; the number of its values that are too far ahead."""
        entity_type, entity_id, ts, stamp, values, ttl, into_history, into_latest = write
        entity = self._ids.entities[entity_type, entity_id]
        keys = self._ids.keys
        expires = self._clock.now_ms() + ttl * 1000 if ttl else None
        ahead = into_latest and ts > limit
        for name, value in values.items():
            key = keys[name]
            kind, cell = cell_of(value)
            if into_history:
                history += (entity, key, ts, stamp, kind, cell, expires)
            if into_latest and not ahead:
                place = (entity, key)
                known = newest.get(place)
                if known is None or wins_latest(ts, stamp, *known[:2]):
                    newest[place] = (ts, stamp, kind, cell)
        return len(values) if ahead else 0

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]:
        if keys is None:
            rows = await self._reader.rows(LATEST_ALL, (entity_type, entity_id))
        else:
            wanted = json.dumps(list(keys))
            rows = await self._reader.rows(LATEST_SOME, (entity_type, entity_id, wanted))
        return [TsEntry(key, ts, value_of(kind, shown)) for key, ts, kind, shown in rows]

    async def history(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        start_ts: int,
        end_ts: int,
        limit: int,
        order: Literal["ASC", "DESC"] = "DESC",
    ) -> Sequence[TsEntry]:
        now = self._clock.now_ms()
        cells = (entity_type, entity_id, key, start_ts, end_ts, now, max(limit, 0))
        rows = await self._reader.rows(HISTORY[order], cells)
        return [TsEntry(key, ts, value_of(kind, shown)) for ts, kind, shown in rows]

    async def keys(self, entity_type: str, entity_id: str) -> Sequence[str]:
        return [row[0] for row in await self._reader.rows(KEYS, (entity_type, entity_id))]

    def ownership_changed(self) -> None:
        """Nothing is cached about stored values: SQL decides."""

    def _add_purge(self, job: Job) -> None:
        now = self._clock.monotonic()
        if now >= self._next_purge:
            self._next_purge = now + PURGE_EVERY_SECONDS
            job.statements.append((PURGE, (self._clock.now_ms(), PURGE_ROWS)))
