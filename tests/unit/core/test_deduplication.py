"""Who is first within an interval, and that the memory of it stays small."""

from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core import deduplication
from edgeferry.core.deduplication import BUCKETS_MAX, Buckets

MINUTE = 60_000


def test_the_first_of_an_interval_wins() -> None:
    buckets = Buckets(60)
    assert buckets.is_first("a", 0)
    assert not buckets.is_first("a", MINUTE - 1)
    assert buckets.is_first("a", MINUTE)
    assert buckets.is_first("b", 0)


def test_what_was_not_kept_is_first_again() -> None:
    buckets = Buckets(60)
    assert buckets.is_first("a", 0)
    buckets.forget_unkept()
    assert buckets.is_first("a", 0)
    buckets.keep()
    buckets.forget_unkept()
    assert not buckets.is_first("a", 0)


def test_late_data_is_told_apart_as_well() -> None:
    buckets = Buckets(60)
    for minute in (50, 3, 7):
        assert buckets.is_first("a", minute * MINUTE)
        buckets.keep()
    for minute in (3, 7, 50):
        assert not buckets.is_first("a", minute * MINUTE)


def test_the_interval_not_used_for_longest_is_forgotten_beyond_a_hundred() -> None:
    buckets = Buckets(60)
    for minute in range(BUCKETS_MAX):
        buckets.is_first("a", minute * MINUTE)
        buckets.keep()
    assert not buckets.is_first("a", 0)  # used again
    buckets.is_first("a", BUCKETS_MAX * MINUTE)
    buckets.keep()
    assert not buckets.is_first("a", 0)
    assert buckets.is_first("a", 1 * MINUTE)


def test_times_far_ahead_do_not_push_the_current_interval_out() -> None:
    buckets = Buckets(86_400)
    now = 19_000 * 86_400_000
    assert buckets.is_first("a", now)
    buckets.keep()
    for year in range(5):
        buckets.is_first("broken", now * (2 + year))
        buckets.keep()
        assert not buckets.is_first("a", now)


def test_two_days_are_remembered_at_most() -> None:
    buckets = Buckets(86_400)
    for day in range(3):
        buckets.is_first("a", day * 86_400_000)
        buckets.keep()
    assert buckets.is_first("a", 0)
    assert not buckets.is_first("a", 86_400_000)


def test_many_originators_shorten_the_memory_but_keep_the_newest_whole() -> None:
    buckets = Buckets(60)
    for number in range(deduplication.ORIGINATORS_MAX // 2 + 1):
        buckets.is_first(str(number), 0)
        buckets.is_first(str(number), MINUTE)
    buckets.keep()
    seen = [not buckets.is_first("0", minute * MINUTE) for minute in (0, 1)]
    assert seen.count(True) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20 * MINUTE), st.booleans())))
def test_it_agrees_with_a_set_that_forgets_nothing(events: list[tuple[str, int, bool]]) -> None:
    buckets, seen = Buckets(60), set()
    for originator, ts, keep in events:
        entry = (originator, ts // MINUTE)
        assert buckets.is_first(originator, ts) == (entry not in seen)
        seen.add(entry)
        if keep:
            buckets.keep()
