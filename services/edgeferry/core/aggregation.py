"""Values over steps of time: where the steps lie, and what comes of the values in one.

Source: ThingsBoard's rules (semantics of the field, section 5.3). A step begins where the one
before ended, the first at the start of the range; its point stands at its middle. Calendar
steps end where a week, month or quarter ends, so the first and the last may be shorter.
"""

import json
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from math import isfinite
from typing import Any, Final, NamedTuple, TypeVar

from edgeferry.core.errors import BadInterval
from edgeferry.core.kv import Value
from edgeferry.core.merge import MAX_TS_MS

MAX_STEPS: Final = 700
LEAST_STEP_MS: Final = 1000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_DAY_MS: Final = 86_400_000
_LONG_LIMIT: Final = 2**63

Kind = TypeVar("Kind")


class Aggregation(StrEnum):
    """The names are an interface."""

    MIN = "MIN"
    MAX = "MAX"
    AVG = "AVG"
    SUM = "SUM"
    COUNT = "COUNT"


class Calendar(StrEnum):
    """Calendar intervals; a WEEK begins on Sunday, a WEEK_ISO on Monday."""

    WEEK = "WEEK"
    WEEK_ISO = "WEEK_ISO"
    MONTH = "MONTH"
    QUARTER = "QUARTER"


_USUAL_DAYS: Final = {
    Calendar.WEEK: 7,
    Calendar.WEEK_ISO: 7,
    Calendar.MONTH: 30,
    Calendar.QUARTER: 90,
}


class Step(NamedTuple):
    """start <= ts < end (ms)."""

    start: int
    end: int

    @property
    def middle(self) -> int:
        return self.start + (self.end - self.start) // 2


def fixed_steps(start: int, end: int, interval: int) -> list[Step]:
    """Steps of ``interval`` ms, at least a second each. Raises BadInterval."""
    if interval < 1:
        raise BadInterval(f"interval {interval}: give at least 1 ms")
    width = max(interval, LEAST_STEP_MS)
    _check_count(start, end, width)
    return _steps(start, end, lambda at: at + width)


def calendar_steps(start: int, end: int, calendar: Calendar, zone: tzinfo) -> list[Step]:
    """Steps that end with the calendar's in this time zone, the last with the year 9999.

    Raises BadInterval."""
    _check_count(start, end, _USUAL_DAYS[calendar] * _DAY_MS)
    if start > MAX_TS_MS:
        return []
    next_day = _NEXT_DAY[calendar]

    def step_end(at: int) -> int:
        try:
            day = (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).date()
            midnight = datetime.combine(next_day(day), time(), zone)
        except OverflowError:
            return MAX_TS_MS + 1
        end = (midnight - _EPOCH) // _MILLISECOND
        if end > at:
            return end
        # the clocks went back over midnight, which comes a second time
        return (midnight.replace(fold=1) - _EPOCH) // _MILLISECOND

    return _steps(start, min(end, MAX_TS_MS + 1), step_end)


def _check_count(start: int, end: int, width: int) -> None:
    count = (end - start) // width
    if count > MAX_STEPS:
        raise BadInterval(
            f"Number of intervals is to high - {count}, above {MAX_STEPS}: "
            "increase 'interval' or reduce the time range"
        )


def _steps(start: int, end: int, step_end: Callable[[int], int]) -> list[Step]:
    """An empty range has one step of a millisecond, as a range of one."""
    end = max(end, start + 1)
    steps = []
    while start < end:
        here = min(step_end(start), end)
        steps.append(Step(start, here))
        start = here
    return steps


def _next_sunday(day: date) -> date:
    return day + timedelta(days=7 - day.isoweekday() % 7)


def _next_monday(day: date) -> date:
    return day + timedelta(days=8 - day.isoweekday())


def _next_month(day: date) -> date:
    return _first_of(day.year, day.month + 1)


def _next_quarter(day: date) -> date:
    return _first_of(day.year, day.month + 3 - (day.month - 1) % 3)


def _first_of(year: int, month: int) -> date:
    """The month may be 13: the next year's first. Raises OverflowError past the year 9999."""
    if month > 12:
        year, month = year + 1, month - 12
    if year > 9999:
        raise OverflowError("past the year 9999")
    return date(year, month, 1)


_NEXT_DAY: Final[dict[Calendar, Callable[[date], date]]] = {
    Calendar.WEEK: _next_sunday,
    Calendar.WEEK_ISO: _next_monday,
    Calendar.MONTH: _next_month,
    Calendar.QUARTER: _next_quarter,
}


class Totals(NamedTuple):
    """What the values of a step, or of a part of it, come to.

    values: how many, of every kind; numbers: longs and doubles. The others are the sum,
    minimum or maximum of each kind, None where it has none; ``document`` is JSON text."""

    values: int = 0
    numbers: int = 0
    long: int | None = None
    double: float | None = None
    boolean: bool | None = None
    text: str | None = None
    document: str | None = None


def combined(aggregation: Aggregation, one: Totals, other: Totals) -> Totals:
    """The totals of both parts."""
    pick = _PICK[aggregation]
    return Totals(
        one.values + other.values,
        one.numbers + other.numbers,
        _picked(pick, one.long, other.long),
        _picked(pick, one.double, other.double),
        _picked(pick, one.boolean, other.boolean),
        _picked(pick, one.text, other.text),
        _picked(pick, one.document, other.document),
    )


def _picked(pick: Callable[[Any, Any], Any], one: Kind | None, other: Kind | None) -> Kind | None:
    if one is None:
        return other
    if other is None:
        return one
    picked: Kind = pick(one, other)
    return picked


_PICK: Final[dict[Aggregation, Callable[[Any, Any], Any]]] = {
    Aggregation.MIN: min,
    Aggregation.MAX: max,
    Aggregation.SUM: operator.add,
    Aggregation.AVG: operator.add,
    Aggregation.COUNT: max,  # it looks at none of them
}


def value_of_totals(aggregation: Aggregation, totals: Totals) -> Value | None:
    """The step's value; None: it gives no point.

    Longs and doubles together are a double, an average always is one, a sum of longs stays
    a long (a double where 64 bits do not hold it). A minimum or maximum is of the numbers if
    there are any, else of the booleans, the texts, the JSON texts."""
    if aggregation is Aggregation.COUNT:
        return totals.values or None
    if aggregation is Aggregation.AVG or aggregation is Aggregation.SUM:
        return _sum_or_average(aggregation, totals)
    return _extreme(aggregation, totals)


def _sum_or_average(aggregation: Aggregation, totals: Totals) -> Value | None:
    if not totals.numbers:
        return None
    if aggregation is Aggregation.SUM and totals.double is None and totals.long is not None:
        fits = -_LONG_LIMIT <= totals.long < _LONG_LIMIT
        return totals.long if fits else float(totals.long)
    value = (totals.double or 0.0) + (totals.long or 0)
    if aggregation is Aggregation.AVG:
        value /= totals.numbers
    return value if isfinite(value) else None


def _extreme(aggregation: Aggregation, totals: Totals) -> Value | None:
    if totals.double is not None:
        if totals.long is None:
            return totals.double
        pick = min if aggregation is Aggregation.MIN else max
        return pick(totals.double, float(totals.long))
    for value in (totals.long, totals.boolean, totals.text):
        if value is not None:
            return value
    if totals.document is None:
        return None
    document: Value = json.loads(totals.document)
    return document
