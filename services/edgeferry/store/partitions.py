"""How ts_kv_cf is cut in time: partitions start at whole UTC units, in epoch milliseconds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from edgeferry.core.merge import MAX_TS_MS
from edgeferry.store.options import Partitioning

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIXED_MS = {"MINUTES": 60_000, "HOURS": 3_600_000, "DAYS": 86_400_000}
_LAST_YEAR = 9999


class Window(NamedTuple):
    """start <= ts < end (ms); ``start`` is the partition's name."""

    start: int
    end: int


def windows(partitioning: Partitioning) -> Callable[[int], Window]:
    """The function that gives the partition of a plausible ts."""
    if partitioning == "INDEFINITE":
        return lambda ts: Window(0, MAX_TS_MS + 1)
    if partitioning == "MONTHS":
        return _month
    if partitioning == "YEARS":
        return _year
    width = _FIXED_MS[partitioning]
    return lambda ts: Window(ts - ts % width, ts - ts % width + width)


def _month(ts: int) -> Window:
    day = _EPOCH + timedelta(milliseconds=ts)
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return Window(_first(day.year, day.month), _first(year, month))


def _year(ts: int) -> Window:
    year = (_EPOCH + timedelta(milliseconds=ts)).year
    return Window(_first(year, 1), _first(year + 1, 1))


def _first(year: int, month: int) -> int:
    if year > _LAST_YEAR:
        return MAX_TS_MS + 1
    return (datetime(year, month, 1, tzinfo=UTC) - _EPOCH) // _MILLISECOND
