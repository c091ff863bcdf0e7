"""Deletes of time series in Cassandra, and the memory of them.

History is deleted by a range tombstone USING TIMESTAMP = the delete's stamp, which by itself
is a merge by stamp. A row of latest carries its own ts as its timestamp, so nothing there
tells an old write from a new one: the ranges deleted lately stand beside it in ``deletes``.

A latest row that is deleted stays as a row without a value (ts -1), written just above what
stood: a tombstone cannot be read, and what is written below it would vanish.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from edgeferry.core.aggregation import Step
from edgeferry.core.kv import TsEntry
from edgeferry.core.merge import Deletion, with_deletion
from edgeferry.core.store import DeletedKey, TimeseriesDelete
from edgeferry.store.cassandra_aggregates import Series
from edgeferry.store.cassandra_cache import NO_TS
from edgeferry.store.cassandra_reads import CassandraReads
from edgeferry.store.cassandra_rows import VALUE_COLUMNS
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql, writetimes
from edgeferry.store.values import Kind, entity_uuid, json_text, kind_of

KEYS_PER_QUERY = 128

_STANDING = """
SELECT key, ts, writetime(ts), deletes, writetime(deletes) FROM ts_kv_latest_cf
WHERE entity_type = ? AND entity_id = ? AND key IN ?
"""
_REMEMBER = """
UPDATE ts_kv_latest_cf USING TIMESTAMP ? SET deletes = ?
WHERE entity_type = ? AND entity_id = ? AND key = ?
"""
_DELETE = """
DELETE FROM ts_kv_cf USING TIMESTAMP ?
WHERE entity_type = ? AND entity_id = ? AND key = ? AND partition = ? AND ts >= ? AND ts < ?
"""
_STAMPS = f"""
SELECT {writetimes()} FROM ts_kv_cf
WHERE entity_type = ? AND entity_id = ? AND key = ? AND partition = ? AND ts = ?
"""
_LATEST = insert_cql(
    "ts_kv_latest_cf",
    ("entity_type", "entity_id", "key", "ts", *VALUE_COLUMNS),
    "USING TIMESTAMP ?",
)

Known = Mapping[str, tuple[int, int]]
"""Key -> ts and stamp of the latest value, where its owner remembers it."""


class _Standing(NamedTuple):
    ts: int = NO_TS
    written: int = -1
    deletions: tuple[Deletion, ...] = ()
    deletions_written: int = -1


class CassandraDeletes:
    def __init__(self, *, session: CassandraSession, reads: CassandraReads) -> None:
        self._session = session
        self._reads = reads
        self._standing = session.query(_STANDING)
        self._remember = session.query(_REMEMBER)
        self._delete = session.query(_DELETE)
        self._stamps = session.query(_STAMPS)
        self._latest = session.query(_LATEST)

    async def delete(
        self, delete: TimeseriesDelete, known: Known, newest: int
    ) -> Sequence[DeletedKey]:
        """Nobody else may write these keys meanwhile. ``newest``: the greatest ts that may
        become latest. Raises StoreUnavailable (some may be deleted), Unstorable."""
        entity = (delete.entity_type, entity_uuid(delete.entity_id))
        standing = await self._read_standing(entity, delete.keys)
        answers = []
        for key in delete.keys:
            row = standing.get(key, _Standing())
            one = await self._with_stamp_of_all((*entity, key), row, delete, known)
            await self._delete_history((*entity, key), row, one)
            answers.append(await self._delete_latest((*entity, key), row, one, known, newest))
        return answers

    async def _with_stamp_of_all(
        self, series: Series, row: _Standing, delete: TimeseriesDelete, known: Known
    ) -> TimeseriesDelete:
        """The delete with a stamp that is below none of what it should take."""
        if not delete.all_stored:
            return delete
        step = Step(delete.start_ts, max(delete.end_ts, delete.start_ts))
        stamps = [delete.stamp, await self._reads.greatest_stamp(series, step)]
        if delete.delete_latest and delete.start_ts < row.ts <= delete.end_ts:
            stamps.append(await self._stamp_of(series, row.ts, known))
        return delete._replace(stamp=max(stamps))

    async def _read_standing(
        self, entity: tuple[str, UUID], keys: Sequence[str]
    ) -> dict[str, _Standing]:
        found = {}
        for begin in range(0, len(keys), KEYS_PER_QUERY):
            cells = (*entity, list(keys[begin : begin + KEYS_PER_QUERY]))
            for key, *row in await self._session.rows(self._standing, cells):
                ts, written, deletes, deletes_written = row
                found[key] = _Standing(
                    NO_TS if ts is None else ts,
                    -1 if written is None else written,
                    deletions_of(deletes),
                    -1 if deletes_written is None else deletes_written,
                )
        return found

    async def _delete_history(
        self, series: Series, row: _Standing, delete: TimeseriesDelete
    ) -> None:
        new = Deletion(delete.start_ts, delete.end_ts, delete.stamp, delete.delete_latest)
        text = json.dumps(with_deletion(row.deletions, new), separators=(",", ":"))
        timestamp = max(delete.stamp, row.deletions_written + 1)
        await self._session.rows(self._remember, (timestamp, text, *series))
        start, end = delete.start_ts, delete.end_ts
        for partition in await self._reads.partitions_of(series, start, end, "ASC"):
            cells = (delete.stamp, *series, partition, start, end)
            await self._session.rows(self._delete, cells)

    async def _delete_latest(
        self,
        series: Series,
        row: _Standing,
        delete: TimeseriesDelete,
        known: Known,
        newest: int,
    ) -> DeletedKey:
        key = series[2]
        if not delete.delete_latest or row.ts == NO_TS:
            return DeletedKey(key, False, None)
        if not delete.start_ts < row.ts <= delete.end_ts:
            return DeletedKey(key, False, None)
        if await self._stamp_of(series, row.ts, known) > delete.stamp:
            return DeletedKey(key, False, None)
        before = await self._newest_before(delete, key, newest) if delete.rewrite_latest else None
        ts, columns = (NO_TS, [None] * 5) if before is None else (before.ts, _columns(before))
        await self._session.rows(self._latest, (*series, ts, *columns, row.written + 1))
        return DeletedKey(key, True, before)

    async def _stamp_of(self, series: Series, ts: int, known: Known) -> int:
        """The stamp of the latest value, as far as anybody knows it."""
        remembered = known.get(series[2])
        if remembered is not None and remembered[0] == ts:
            return remembered[1]
        for partition in await self._reads.partitions_of(series, ts, ts + 1, "ASC"):
            for stamps in await self._session.rows(self._stamps, (*series, partition, ts)):
                return max((int(stamp) for stamp in stamps if stamp is not None), default=NO_TS)
        return NO_TS

    async def _newest_before(
        self, delete: TimeseriesDelete, key: str, newest: int
    ) -> TsEntry | None:
        place = (delete.entity_type, delete.entity_id, key)
        end = min(delete.start_ts - 1, newest + 1)
        found = await self._reads.history(place, 0, end, 1, "DESC")
        return found[0] if found else None


def deletions_of(text: str | None) -> tuple[Deletion, ...]:
    """What the column ``deletes`` says."""
    if not text:
        return ()
    rows: list[list[Any]] = json.loads(text)
    return tuple(Deletion(start, end, stamp, latest) for start, end, stamp, latest in rows)


def _columns(entry: TsEntry) -> list[Any]:
    """The five value columns."""
    kind = kind_of(entry.value)
    columns: list[Any] = [None] * 5
    columns[kind] = json_text(entry.value) if kind is Kind.JSON else entry.value  # type: ignore[arg-type]
    return columns
