"""From writes to the rows of history and latest."""

from collections.abc import Iterator, Mapping, Sequence

from edgeferry.core.errors import Unstorable
from edgeferry.core.merge import (
    history_deleted,
    latest_deleted,
    newest_allowed_for_latest,
    wins_latest,
)
from edgeferry.core.node import TimeseriesWrite
from edgeferry.store.sqlite_deletes import Ranges, SqliteDeletes, ranges_of
from edgeferry.store.sqlite_ids import SqliteIds
from edgeferry.store.sqlite_values import cell_of
from edgeferry.store.sqlite_writer import Cell, Insert, Job

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


def encode(
    writes: Sequence[TimeseriesWrite], ids: SqliteIds, deletes: SqliteDeletes, now_ms: int
) -> tuple[Job, int]:
    """The rows, and how many values are too far ahead for latest.

    Raises Unstorable with the write's index."""
    rows = _Rows(ids, now_ms)
    deleted = deletes.known
    for index, write in enumerate(writes):
        entity = ids.entities[write.entity_type, write.entity_id]
        try:
            if deleted and (ranges := deleted.get(entity)) is not None:
                for part in _parts(write, ranges, ids.keys):
                    rows.add(entity, part)
            else:
                rows.add(entity, write)
        except Unstorable as error:
            raise Unstorable(str(error), index) from None
    return rows.job(), rows.future


def _parts(
    write: TimeseriesWrite, ranges: Mapping[int, Ranges], keys: Mapping[str, int]
) -> Iterator[TimeseriesWrite]:
    """The values one by one, each only where it was not deleted before it came."""
    ts, stamp = write.ts, write.stamp
    for name, value in write.values.items():
        some = ranges_of(ranges, keys[name])
        yield write._replace(
            values={name: value},
            history=write.history and not history_deleted(some, ts, stamp),
            latest=write.latest and not latest_deleted(some, ts, stamp),
        )


class _Rows:
    """The cells of one save; of latest only the newest of each key."""

    def __init__(self, ids: SqliteIds, now_ms: int) -> None:
        self.future = 0
        self._keys = ids.keys
        self._now_ms = now_ms
        self._limit = newest_allowed_for_latest(now_ms)
        self._history: list[Cell] = []
        self._newest: dict[tuple[int, int], tuple[int, int, int, Cell]] = {}

    def add(self, entity: int, write: TimeseriesWrite) -> None:
        """Raises Unstorable."""
        _, _, ts, stamp, values, ttl, into_history, into_latest = write
        keys, history, newest = self._keys, self._history, self._newest
        expires = self._now_ms + ttl * 1000 if ttl else None
        if into_latest and ts > self._limit:
            self.future += len(values)
            into_latest = False
        for name, value in values.items():
            key = keys[name]
            kind, cell = cell_of(value)
            if into_history:
                history += (entity, key, ts, stamp, kind, cell, expires)
            if into_latest:
                place = (entity, key)
                known = newest.get(place)
                if known is None or wins_latest(ts, stamp, *known[:2]):
                    newest[place] = (ts, stamp, kind, cell)

    def job(self) -> Job:
        job = Job()
        if self._history:
            job.add(UPSERT_HISTORY, self._history)
        if self._newest:
            newest = self._newest.items()
            job.add(UPSERT_LATEST, [c for row in newest for part in row for c in part])
        return job
