"""How full an outbox is, and where it is cut."""

from dataclasses import dataclass

import pytest

from edgeferry.runtime.settings import OutboxLaneSettings, TelemetryOutboxSettings
from edgeferry.sync.caps import Figures, Fill, fill
from edgeferry.sync.cutting import cut_offset

NOW = 1_000_000


def figures(
    first: int, end: int, size: int = 0, *, age: float = 0, measured: bool = True
) -> Figures:
    return Figures(first, end, size, measured, NOW - round(age * 1000), first, 0)


def caps(size: int = 0, events: int = 0, age: float = 0) -> OutboxLaneSettings:
    return OutboxLaneSettings(max_bytes=size, max_events=events, max_age_seconds=age)


def test_the_fullest_cap_counts() -> None:
    assert fill(caps(1000, 10, 100), figures(5, 10, 900, age=40), NOW) == Fill(0.9, "bytes")
    assert fill(caps(1000, 5, 100), figures(5, 10, 900, age=40), NOW) == Fill(1.0, "events")
    assert fill(caps(1000, 10, 20), figures(5, 10, 900, age=40), NOW) == Fill(2.0, "age")


def test_without_a_cap_nothing_is_ever_full() -> None:
    assert fill(caps(), figures(0, 10**9, 10**12, age=10**8), NOW).ratio == 0


def test_telemetry_is_dropped_and_all_else_refused_unless_told_otherwise() -> None:
    assert (OutboxLaneSettings().policy, OutboxLaneSettings().max_bytes) == ("refuse_new", 2 << 30)
    telemetry = TelemetryOutboxSettings(max_events=5)
    assert (telemetry.policy, telemetry.max_bytes) == ("drop_oldest", 8 << 30)


@dataclass
class Sized:
    """An outbox whose record at ``offset`` has as many bytes and was appended at that second."""

    asked: int = 0

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]:
        self.asked += 1
        return sum(range(offset, end)), True

    async def appended_ms(self, offset: int) -> int | None:
        self.asked += 1
        return offset * 1000


@pytest.mark.asyncio
async def test_a_slice_of_a_twentieth_is_cut_at_once() -> None:
    assert await cut_offset(Sized(), caps(events=100), figures(50, 150), NOW) == 55


@pytest.mark.asyncio
async def test_bytes_are_cut_to_the_very_event_without_looking_at_all_of_them() -> None:
    outbox = Sized()
    end, size = 100_000, sum(range(100_000))
    below = await cut_offset(outbox, caps(size), figures(0, end, size), NOW)
    assert sum(range(below, end)) <= 0.95 * size < sum(range(below - 1, end))
    assert outbox.asked < 20


@pytest.mark.asyncio
async def test_reckoned_bytes_are_cut_by_their_mean() -> None:
    waits = figures(100, 1100, 2000, measured=False)
    assert await cut_offset(Sized(), caps(2000), waits, NOW) == 150
    assert await cut_offset(Sized(), caps(1000), waits, NOW) == 625


@pytest.mark.asyncio
async def test_what_is_too_old_is_cut_by_the_time_of_its_append() -> None:
    waits = figures(100, 990, age=900)
    assert await cut_offset(Sized(), caps(age=400), waits, NOW) == 1000 - 380


@pytest.mark.asyncio
async def test_what_is_all_too_old_goes_whole() -> None:
    assert await cut_offset(Sized(), caps(age=10), figures(100, 200, age=900), NOW) == 200


@pytest.mark.asyncio
async def test_below_its_caps_nothing_is_cut() -> None:
    assert await cut_offset(Sized(), caps(10**9, 10**9, 10**9), figures(5, 50, 10), NOW) == 5
