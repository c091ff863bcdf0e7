"""Reading time series from SQLite."""

import json
from collections.abc import Sequence
from typing import Any

from edgeferry.core.aggregation import Aggregation, Step, Totals, value_of_totals
from edgeferry.core.clock import Clock
from edgeferry.core.kv import TsEntry
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_values import VALUE_SQL, exact_double, value_of
from edgeferry.store.timeseries_reads import Order, Place
from edgeferry.store.values import Kind

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
_SERIES = f"entity = {_ENTITY} AND key = (SELECT id FROM keys WHERE key = ?)"
_HISTORY = f"""
SELECT json_group_array(json_array(ts, kind, shown)) FROM (
    SELECT ts, kind, {VALUE_SQL} AS shown FROM history
    WHERE {_SERIES} AND ts >= ? AND ts < ? AND (expires IS NULL OR expires > ?)
    ORDER BY ts {{order}} LIMIT ?)
"""
HISTORY = {"ASC": _HISTORY.format(order="ASC"), "DESC": _HISTORY.format(order="DESC")}

# One look-up per step: grouping would sort all rows by step first.
_AGGREGATE = f"""
WITH series AS (SELECT {_ENTITY} AS entity, (SELECT id FROM keys WHERE key = ?) AS key)
SELECT json_group_array(json((
    SELECT json_array({{totals}}) FROM history
    WHERE entity = series.entity AND key = series.key AND ts >= json_extract(step.value, '$[0]')
        AND ts < json_extract(step.value, '$[1]') AND (expires IS NULL OR expires > ?)
))) FROM series, json_each(?) AS step
"""


def _of(kind: Kind, value: str = "history.value") -> str:
    return f"CASE kind WHEN {kind.value} THEN {value} END"


def _number(kind: Kind) -> str:
    return f"count({_of(kind)})"


# Longs are added in two halves: SQLite's sum of integers fails where 64 bits do not hold it.
_SUMS = ", ".join(
    (
        "count(*)",
        _number(Kind.LONG),
        _number(Kind.DOUBLE),
        f"sum({_of(Kind.LONG, 'history.value >> 32')})",
        f"sum({_of(Kind.LONG, 'history.value & 4294967295')})",
        exact_double(f"sum({_of(Kind.DOUBLE)})"),
    )
)


def _extremes(pick: str) -> str:
    kinds = (Kind.LONG, Kind.DOUBLE, Kind.BOOL, Kind.STR, Kind.JSON)
    picked = [f"{pick}({_of(kind)})" for kind in kinds]
    picked[1] = exact_double(picked[1])
    return ", ".join(("count(*)", *picked))


AGGREGATE = {
    Aggregation.COUNT: _AGGREGATE.format(totals="count(*)"),
    Aggregation.SUM: _AGGREGATE.format(totals=_SUMS),
    Aggregation.AVG: _AGGREGATE.format(totals=_SUMS),
    Aggregation.MIN: _AGGREGATE.format(totals=_extremes("min")),
    Aggregation.MAX: _AGGREGATE.format(totals=_extremes("max")),
}


class SqliteTimeseriesReads:
    """The reading half of core.store.TimeseriesStore."""

    def __init__(self, *, reader: SqliteReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None
    ) -> list[TsEntry]:
        if keys is None:
            rows = await self._reader.rows(LATEST_ALL, (entity_type, entity_id))
        else:
            wanted = json.dumps(list(keys))
            rows = await self._reader.rows(LATEST_SOME, (entity_type, entity_id, wanted))
        return [TsEntry(key, ts, value_of(kind, shown)) for key, ts, kind, shown in rows]

    async def history(
        self,
        place: Place,
        start_ts: int,
        end_ts: int,
        limit: int,
        order: Order,
    ) -> list[TsEntry]:
        now = self._clock.now_ms()
        cells = (*place, start_ts, end_ts, now, max(limit, 0))
        rows = await self._reader.rows(HISTORY[order], cells)
        return [TsEntry(place[2], ts, value_of(kind, shown)) for ts, kind, shown in rows]

    async def aggregate(
        self, place: Place, steps: Sequence[Step], aggregation: Aggregation
    ) -> list[TsEntry]:
        cells = (*place, self._clock.now_ms(), json.dumps(steps))
        rows = await self._reader.rows(AGGREGATE[aggregation], cells)
        entries = []
        for step, row in zip(steps, rows, strict=True):
            value = value_of_totals(aggregation, _totals(aggregation, row))
            if value is not None:
                entries.append(TsEntry(place[2], step.middle, value))
        return entries

    async def keys(self, entity_type: str, entity_id: str) -> list[str]:
        return [row[0] for row in await self._reader.rows(KEYS, (entity_type, entity_id))]


def _totals(aggregation: Aggregation, row: Sequence[Any]) -> Totals:
    if aggregation is Aggregation.COUNT:
        return Totals(row[0])
    if aggregation is Aggregation.SUM or aggregation is Aggregation.AVG:
        count, longs, doubles, high, low, double = row
        whole = (high << 32) + low if longs else None
        return Totals(count, longs + doubles, whole, float(double) if doubles else None)
    count, whole, double, boolean, text, document = row
    return Totals(
        count,
        0,
        whole,
        None if double is None else float(double),
        None if boolean is None else bool(boolean),
        text,
        document,
    )
