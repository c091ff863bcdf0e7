"""Who wins when two writes meet."""

from edgeferry.core.merge import (
    FUTURE_LIMIT_MS,
    LATEST_SLOTS,
    latest_timestamp,
    newest_allowed_for_latest,
    wins_attribute,
    wins_latest,
)


def test_newer_data_wins_latest_whatever_its_stamp() -> None:
    assert wins_latest(2, 1, 1, 9)
    assert not wins_latest(1, 9, 2, 1)


def test_of_one_ts_the_greater_stamp_wins_and_a_repeat_does_not() -> None:
    assert wins_latest(1, 6, 1, 5)
    assert not wins_latest(1, 5, 1, 5)
    assert not wins_latest(1, 4, 1, 5)


def test_the_greater_attribute_version_wins_and_the_site_breaks_ties() -> None:
    assert wins_attribute(2, "a", 1, "z")
    assert wins_attribute(1, "b", 1, "a")
    assert not wins_attribute(1, "a", 1, "a")
    assert not wins_attribute(1, "z", 2, "a")


def test_timestamps_of_neighbouring_milliseconds_do_not_overlap() -> None:
    assert latest_timestamp(7, LATEST_SLOTS - 1) < latest_timestamp(8, 0)


def test_latest_takes_at_most_an_hour_ahead() -> None:
    assert newest_allowed_for_latest(1000) == 1000 + FUTURE_LIMIT_MS == 3_601_000
