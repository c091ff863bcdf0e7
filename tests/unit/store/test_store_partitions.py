"""Where partitions of ts_kv_cf begin and end."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.merge import MAX_TS_MS
from edgeferry.store.options import Partitioning
from edgeferry.store.partitions import windows

NAMES: list[Partitioning] = ["MINUTES", "HOURS", "DAYS", "MONTHS", "YEARS", "INDEFINITE"]


def ms(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("name", "ts", "start", "end"),
    [
        ("MINUTES", ms(2026, 2, 3, 4, 5, 6), ms(2026, 2, 3, 4, 5), ms(2026, 2, 3, 4, 6)),
        ("HOURS", ms(2026, 2, 3, 4, 5, 6), ms(2026, 2, 3, 4), ms(2026, 2, 3, 5)),
        ("DAYS", ms(2026, 2, 28, 4), ms(2026, 2, 28), ms(2026, 3, 1)),
        ("MONTHS", ms(2024, 2, 29), ms(2024, 2, 1), ms(2024, 3, 1)),
        ("MONTHS", ms(2026, 12, 31, 23, 59), ms(2026, 12, 1), ms(2027, 1, 1)),
        ("MONTHS", ms(2026, 3, 1), ms(2026, 3, 1), ms(2026, 4, 1)),
        ("MONTHS", ms(2026, 3, 1) - 1, ms(2026, 2, 1), ms(2026, 3, 1)),
        ("YEARS", ms(2026, 7, 1), ms(2026, 1, 1), ms(2027, 1, 1)),
        ("INDEFINITE", ms(2026, 7, 1), 0, MAX_TS_MS + 1),
    ],
)
def test_a_partition_is_a_whole_unit(name: Partitioning, ts: int, start: int, end: int) -> None:
    assert windows(name)(ts) == (start, end)


@given(name=st.sampled_from(NAMES), ts=st.integers(0, MAX_TS_MS))
def test_every_plausible_ts_lies_in_its_partition(name: Partitioning, ts: int) -> None:
    window = windows(name)(ts)
    assert window.start <= ts < window.end
    assert windows(name)(window.start) == window
    assert windows(name)(window.end - 1) == window
