"""Where the steps of an aggregation lie, and what their values come to."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.aggregation import (
    MAX_STEPS,
    Aggregation,
    Calendar,
    Step,
    Totals,
    calendar_steps,
    combined,
    fixed_steps,
    value_of_totals,
)
from edgeferry.core.errors import BadInterval
from edgeferry.core.merge import MAX_TS_MS

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


def ms(*when: int, zone: timezone | ZoneInfo = UTC) -> int:
    return round(datetime(*when, tzinfo=zone).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_steps_begin_at_the_start_of_the_range_and_the_last_is_cut() -> None:
    assert fixed_steps(500, 4000, 1500) == [(500, 2000), (2000, 3500), (3500, 4000)]


def test_a_step_is_a_second_at_least() -> None:
    assert fixed_steps(0, 2500, 1) == [(0, 1000), (1000, 2000), (2000, 2500)]


def test_a_point_stands_in_the_middle_of_its_step() -> None:
    assert [step.middle for step in fixed_steps(0, 2501, 1000)] == [500, 1500, 2250]


def test_an_empty_range_is_one_millisecond() -> None:
    assert fixed_steps(7, 7, 1000) == [(7, 8)]
    assert calendar_steps(7, 7, Calendar.WEEK, UTC) == [(7, 8)]


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_a_millisecond_is_refused(interval: int) -> None:
    with pytest.raises(BadInterval, match="at least 1 ms"):
        fixed_steps(0, 10, interval)


def test_too_many_steps_are_refused_with_what_to_do() -> None:
    assert len(fixed_steps(0, MAX_STEPS * 1000, 1000)) == MAX_STEPS
    with pytest.raises(BadInterval, match=r"is to high - 701.*increase 'interval'"):
        fixed_steps(0, (MAX_STEPS + 1) * 1000, 1)
    with pytest.raises(BadInterval, match="is to high"):
        calendar_steps(0, 2**63 - 1, Calendar.QUARTER, UTC)


@pytest.mark.parametrize(
    ("calendar", "bounds"),
    [
        (Calendar.WEEK, [ms(2024, 2, 28, 5), ms(2024, 3, 3), ms(2024, 3, 10), ms(2024, 3, 12)]),
        (Calendar.WEEK_ISO, [ms(2024, 2, 28, 5), ms(2024, 3, 4), ms(2024, 3, 11), ms(2024, 3, 12)]),
        (Calendar.MONTH, [ms(2024, 2, 28, 5), ms(2024, 3, 1), ms(2024, 3, 12)]),
        (Calendar.QUARTER, [ms(2023, 12, 31, 23), ms(2024, 1, 1), ms(2024, 3, 31, 1)]),
    ],
)
def test_calendar_steps_end_with_the_calendar(calendar: Calendar, bounds: list[int]) -> None:
    steps = calendar_steps(bounds[0], bounds[-1], calendar, UTC)
    assert steps == list(pairwise(bounds))


def test_a_step_that_begins_on_the_first_day_is_whole() -> None:
    sunday, monday = ms(2024, 3, 3), ms(2024, 3, 4)
    assert calendar_steps(sunday, sunday + 1, Calendar.WEEK, UTC) == [(sunday, sunday + 1)]
    week = 7 * 24 * HOUR
    for start, calendar in ((sunday, Calendar.WEEK), (monday, Calendar.WEEK_ISO)):
        assert calendar_steps(start, start + week, calendar, UTC) == [(start, start + week)]


def test_calendar_steps_follow_the_time_zone_over_a_change_of_its_clocks() -> None:
    start, end = ms(2024, 3, 1, zone=BERLIN), ms(2024, 5, 1, zone=BERLIN)
    april = ms(2024, 4, 1, zone=BERLIN)
    assert calendar_steps(start, end, Calendar.MONTH, BERLIN) == [(start, april), (april, end)]
    assert april - start == (31 * 24 - 1) * HOUR


def test_a_week_may_begin_where_clocks_skip_midnight() -> None:
    santiago = ZoneInfo("America/Santiago")  # Sunday 2024-09-08 began at 1:00
    start = ms(2024, 9, 5, zone=santiago)
    first, second = calendar_steps(start, start + 7 * 24 * HOUR, Calendar.WEEK, santiago)
    assert first.end == second.start == ms(2024, 9, 8, 4)


def test_a_midnight_that_comes_twice_ends_a_step_once_or_twice() -> None:
    st_johns = ZoneInfo("America/St_Johns")  # Sunday 2010-11-07: from 0:01 back to 23:01
    start, end = ms(2010, 11, 6, zone=st_johns), ms(2010, 11, 8, zone=st_johns)
    steps = calendar_steps(start, end, Calendar.WEEK, st_johns)
    assert [step.end - step.start > 0 for step in steps] == [True] * len(steps)
    assert (steps[0].start, steps[-1].end) == (start, end)
    again = ms(2010, 11, 7, 3)  # 23:30 for the second time
    assert calendar_steps(again, end, Calendar.WEEK, st_johns)[0].end == ms(2010, 11, 7, 3, 30)


def test_calendar_steps_end_with_plausible_time() -> None:
    start = ms(9999, 11, 15)
    december = ms(9999, 12, 1)
    assert calendar_steps(start, ms(9999, 12, 2), Calendar.MONTH, UTC)[0].end == december
    for calendar in (Calendar.MONTH, Calendar.QUARTER, Calendar.WEEK, Calendar.WEEK_ISO):
        assert calendar_steps(start, MAX_TS_MS + 9, calendar, BERLIN)[-1].end == MAX_TS_MS + 1
    assert calendar_steps(MAX_TS_MS + 1, MAX_TS_MS + 2, Calendar.WEEK, UTC) == []


@given(
    start=st.integers(0, 4_102_444_800_000),
    length=st.integers(1, 3 * 365 * 24 * HOUR),
    calendar=st.sampled_from(Calendar),
    hours=st.integers(-14, 14),
)
def test_calendar_steps_cover_the_range_without_a_gap(
    start: int, length: int, calendar: Calendar, hours: int
) -> None:
    steps = calendar_steps(start, start + length, calendar, timezone(timedelta(hours=hours)))
    assert steps[0].start == start
    assert steps[-1].end == start + length
    assert all(one.end == next_.start for one, next_ in pairwise(steps))
    assert all(step.start < step.end for step in steps)


parts = st.builds(
    Totals,
    values=st.integers(0, 9),
    numbers=st.integers(0, 9),
    long=st.none() | st.integers(-9, 9),
    double=st.none() | st.integers(-9, 9).map(float),
    boolean=st.none() | st.booleans(),
    text=st.none() | st.sampled_from("abc"),
    document=st.none() | st.sampled_from(["[1]", "[2]"]),
)


@given(aggregation=st.sampled_from(Aggregation), one=parts, two=parts, three=parts)
def test_parts_combine_in_any_order(
    aggregation: Aggregation, one: Totals, two: Totals, three: Totals
) -> None:
    def value(*some: Totals) -> object:
        total = Totals()
        for part in some:
            total = combined(aggregation, total, part)
        return value_of_totals(aggregation, total)

    assert value(one, two, three) == value(three, one, two) == value(two, three, one)


def test_a_step_names_its_bounds() -> None:
    assert Step(1, 4) == (1, 4)
