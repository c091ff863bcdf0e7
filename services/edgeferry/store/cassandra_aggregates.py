"""Aggregation in Cassandra: the server adds up slices of partitions, we combine them.

Nothing but totals crosses the wire, and no query reads more than a few days of a key.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from edgeferry.core.aggregation import Aggregation, Step, Totals, combined, value_of_totals
from edgeferry.core.kv import TsEntry
from edgeferry.store.cassandra_rows import VALUE_COLUMNS
from edgeferry.store.cassandra_session import CassandraSession, Query, Row
from edgeferry.store.options import Partitioning
from edgeferry.store.partitions import Window, windows

QUERIES_IN_FLIGHT = 8
SLICE_MS = 4 * 86_400_000
_LONG_PARTITIONS: tuple[Partitioning, ...] = ("MONTHS", "YEARS")

_COUNTS = ", ".join(f"count({column})" for column in VALUE_COLUMNS)
# varint: the sum of bigints would wrap around
_SUMS = "count(long_v), count(dbl_v), sum(CAST(long_v AS varint)), sum(dbl_v)"
_STAMPS = ", ".join(f"max(writetime({column}))" for column in VALUE_COLUMNS)
_FROM = """
FROM ts_kv_cf WHERE entity_type = ? AND entity_id = ? AND key = ? AND partition = ?
AND ts >= ? AND ts < ?
"""

Series = tuple[str, UUID, str]


def _extremes(pick: str) -> str:
    return ", ".join(f"{pick}({column})" for column in VALUE_COLUMNS)


_SELECTED = {
    Aggregation.COUNT: _COUNTS,
    Aggregation.SUM: _SUMS,
    Aggregation.AVG: _SUMS,
    Aggregation.MIN: _extremes("min"),
    Aggregation.MAX: _extremes("max"),
}


class CassandraAggregates:
    def __init__(self, *, session: CassandraSession, partitioning: Partitioning) -> None:
        self._session = session
        self._window = windows(partitioning)
        self._slice = SLICE_MS if partitioning in _LONG_PARTITIONS else None
        self._queries = {
            aggregation: session.query(f"SELECT {selected} {_FROM}")
            for aggregation, selected in _SELECTED.items()
        }
        self._stamps = session.query(f"SELECT {_STAMPS} {_FROM}")
        self._slots = asyncio.Semaphore(QUERIES_IN_FLIGHT)

    async def aggregate(
        self,
        series: Series,
        partitions: Iterable[int],
        steps: Sequence[Step],
        aggregation: Aggregation,
    ) -> list[TsEntry]:
        """``partitions``: those that the key has, in order. Raises StoreUnavailable."""
        places = list(_places([self._window(one) for one in partitions], steps, self._slice))
        parts = await asyncio.gather(
            *(self._totals(series, window, cut, aggregation) for _, window, cut in places)
        )
        totals: dict[Step, Totals] = {}
        for (step, _, _), part in zip(places, parts, strict=True):
            totals[step] = combined(aggregation, totals.get(step, Totals()), part)
        values = ((step, value_of_totals(aggregation, found)) for step, found in totals.items())
        return [
            TsEntry(series[2], step.middle, value) for step, value in values if value is not None
        ]

    async def greatest_stamp(self, series: Series, partitions: Iterable[int], step: Step) -> int:
        """Of the values that stand in the step; -1 without any. Raises StoreUnavailable."""
        places = _places([self._window(one) for one in partitions], [step], self._slice)
        rows = await asyncio.gather(
            *(self._row(self._stamps, series, window, cut) for _, window, cut in places)
        )
        return max((stamp for row in rows for stamp in row if stamp is not None), default=-1)

    async def _totals(
        self, series: Series, window: Window, cut: Step, aggregation: Aggregation
    ) -> Totals:
        row = await self._row(self._queries[aggregation], series, window, cut)
        return _totals(aggregation, row)

    async def _row(self, query: Query, series: Series, window: Window, cut: Step) -> Row:
        async with self._slots:
            rows = await self._session.rows(query, (*series, window.start, *cut))
        return rows[0]


def _places(
    windows: Sequence[Window], steps: Sequence[Step], slice_ms: int | None
) -> Iterator[tuple[Step, Window, Step]]:
    """The parts of steps within partitions, cut where a partition is long; steps in order."""
    first = 0
    for step in steps:
        while first < len(windows) and windows[first].end <= step.start:
            first += 1
        for window in windows[first:]:
            if window.start >= step.end:
                break
            start, end = max(step.start, window.start), min(step.end, window.end)
            width = slice_ms or end - start
            for begin in range(start, end, width):
                yield step, window, Step(begin, min(begin + width, end))


def _totals(aggregation: Aggregation, row: Row) -> Totals:
    if aggregation is Aggregation.COUNT:
        return Totals(sum(row))
    if aggregation is Aggregation.SUM or aggregation is Aggregation.AVG:
        longs, doubles, long, double = row
        return Totals(
            longs + doubles, longs + doubles, long if longs else None, double if doubles else None
        )
    boolean, text, long, double, document = row
    return Totals(0, 0, long, double, boolean, text, document)
