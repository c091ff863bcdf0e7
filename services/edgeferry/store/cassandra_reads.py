"""Reading time series from Cassandra."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from edgeferry.core.aggregation import Aggregation, Step
from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.store.cassandra_aggregates import CassandraAggregates, Series
from edgeferry.store.cassandra_rows import VALUE_COLUMNS
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.options import Partitioning
from edgeferry.store.partitions import windows
from edgeferry.store.timeseries_reads import Order, Place
from edgeferry.store.values import entity_uuid

COLUMNS = ", ".join(VALUE_COLUMNS)
_LATEST = f"SELECT key, ts, {COLUMNS} FROM ts_kv_latest_cf WHERE entity_type = ? AND entity_id = ?"
_KEYS = "SELECT key, ts FROM ts_kv_latest_cf WHERE entity_type = ? AND entity_id = ?"
_PARTITIONS = """
SELECT partition FROM ts_kv_partitions_cf
WHERE entity_type = ? AND entity_id = ? AND key = ? AND partition >= ? AND partition <= ?
ORDER BY partition {order}
"""
_HISTORY = f"""
SELECT ts, {COLUMNS} FROM ts_kv_cf
WHERE entity_type = ? AND entity_id = ? AND key = ? AND partition = ? AND ts >= ? AND ts < ?
ORDER BY ts {{order}} LIMIT ?
"""
_MOST_ROWS = 2**31 - 1

_ORDERS: tuple[Order, ...] = ("ASC", "DESC")


class CassandraReads:
    """The reading half of core.store.TimeseriesStore. A raw timestamp outside the plausible
    range is cut to it."""

    def __init__(self, *, session: CassandraSession, partitioning: Partitioning) -> None:
        self._session = session
        self._window = windows(partitioning)
        self._listed = partitioning != "INDEFINITE"
        self._aggregates = CassandraAggregates(session=session, partitioning=partitioning)
        query = session.query
        self._latest = query(_LATEST)
        self._latest_of = query(f"{_LATEST} AND key IN ?")
        self._keys = query(_KEYS)
        self._partitions = {order: query(_PARTITIONS.format(order=order)) for order in _ORDERS}
        self._history = {order: query(_HISTORY.format(order=order)) for order in _ORDERS}

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None
    ) -> Sequence[TsEntry]:
        place = place_of(entity_type, entity_id)
        if place is None:
            return []
        if keys is None:
            rows = await self._session.rows(self._latest, place)
        else:
            wanted = sorted(set(keys))
            rows = await self._session.rows(self._latest_of, (*place, wanted))
        entries = ((key, ts, value_of(columns)) for key, ts, *columns in rows)
        return [TsEntry(key, ts, value) for key, ts, value in entries if value is not None]

    async def keys(self, entity_type: str, entity_id: str, deleted: bool = False) -> Sequence[str]:
        """``deleted``: also those whose latest value was deleted."""
        place = place_of(entity_type, entity_id)
        if place is None:
            return []
        rows = await self._session.rows(self._keys, place)
        return [key for key, ts in rows if deleted or (ts is not None and ts >= 0)]

    async def history(
        self, place: Place, start_ts: int, end_ts: int, limit: int, order: Order
    ) -> Sequence[TsEntry]:
        """Partition after partition in order, until the limit is full."""
        entity = place_of(*place[:2])
        key = place[2]
        start, end = max(start_ts, 0), min(end_ts, MAX_TS_MS + 1)
        limit = min(limit, _MOST_ROWS)
        entries: list[TsEntry] = []
        if entity is None or start >= end or limit <= 0:
            return entries
        series = (*entity, key)
        for partition in await self.partitions_of(series, start, end, order):
            cells = (*series, partition, start, end, limit - len(entries))
            for ts, *columns in await self._session.rows(self._history[order], cells):
                value = value_of(columns)
                if value is not None:
                    entries.append(TsEntry(key, ts, value))
            if len(entries) >= limit:
                break
        return entries

    async def aggregate(
        self, place: Place, steps: Sequence[Step], aggregation: Aggregation
    ) -> Sequence[TsEntry]:
        entity = place_of(*place[:2])
        if entity is None or not steps:
            return []
        series = (*entity, place[2])
        partitions = await self.partitions_of(series, steps[0].start, steps[-1].end, "ASC")
        return await self._aggregates.aggregate(series, partitions, steps, aggregation)

    async def greatest_stamp(self, series: Series, step: Step) -> int:
        """Of the values that stand in the step; -1 without any."""
        partitions = await self.partitions_of(series, step.start, step.end, "ASC")
        return await self._aggregates.greatest_stamp(series, partitions, step)

    async def partitions_of(self, series: Series, start: int, end: int, order: Order) -> list[int]:
        """The partitions that may hold start <= ts < end, in this order."""
        start, end = max(start, 0), min(end, MAX_TS_MS + 1)
        if start >= end:
            return []
        if not self._listed:
            return [0]
        bounds = (self._window(start).start, self._window(end - 1).start)
        rows = await self._session.rows(self._partitions[order], (*series, *bounds))
        return [row[0] for row in rows]


def place_of(entity_type: str, entity_id: str) -> tuple[str, UUID] | None:
    """How the tables name an entity; None for an id that none can have."""
    try:
        return entity_type, entity_uuid(entity_id)
    except Unstorable:
        return None


def value_of(columns: Sequence[Any]) -> Value | None:
    """The value of the five columns; None when none is set."""
    bool_v, str_v, long_v, dbl_v, json_v = columns
    if json_v is not None:
        value: Value = json.loads(json_v)
        return value
    found: Value | None = next((v for v in (bool_v, str_v, long_v, dbl_v) if v is not None), None)
    return found
