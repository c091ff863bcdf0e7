"""Token buckets: a burst at once, then a steady rate; one for each device and one for all."""

from dataclasses import dataclass

import pytest

from edgeferry.gateway.rates import Rates, Unlimited


@dataclass(frozen=True)
class Limits:
    device_rate: float = 10.0
    device_burst: int = 20
    site_rate: float = 0.0
    site_burst: int = 1


def sent(rates: Rates, device: str, now: float, tries: int = 1000, size: int = 10) -> int:
    """How many of ``tries`` messages pass."""
    passed = 0
    for _ in range(tries):
        if rates.wait(device, now) == 0:
            rates.take(device, size)
            passed += 1
    return passed


def test_a_device_may_send_a_burst_and_then_its_rate() -> None:
    rates = Rates(Limits(), 0.0)
    assert sent(rates, "a", 0.0) == 20
    assert sent(rates, "a", 1.0) == 10
    assert sent(rates, "a", 1.5) == 5
    assert sent(rates, "a", 100.0) == 20


def test_devices_do_not_share_theirs() -> None:
    rates = Rates(Limits(), 0.0)
    assert sent(rates, "a", 0.0) == 20
    assert sent(rates, "b", 0.0) == 20


def test_all_devices_together_have_one_too() -> None:
    rates = Rates(Limits(site_rate=5.0, site_burst=30), 0.0)
    assert [sent(rates, device, 0.0) for device in "abc"] == [20, 10, 0]
    assert sent(rates, "c", 2.0) == 10


def test_a_large_message_counts_for_each_4_kib() -> None:
    assert sent(Rates(Limits(), 0.0), "a", 0.0, size=4095) == 20
    assert sent(Rates(Limits(), 0.0), "a", 0.0, size=4096) == 10


def test_who_overdraws_waits_for_it() -> None:
    rates = Rates(Limits(), 0.0)
    rates.wait("a", 0.0)
    for _ in range(40):
        rates.take("a", 10)
    wait = rates.wait("a", 0.0)
    assert wait == pytest.approx(2.0, abs=0.01)
    assert rates.wait("a", wait) == 0


def test_without_limits_nobody_waits() -> None:
    assert sent(Rates(Unlimited(), 0.0), "a", 0.0) == 1000


def test_quiet_devices_are_forgotten_and_busy_ones_are_not() -> None:
    rates = Rates(Limits(), 0.0)
    for number in range(1000):
        sent(rates, f"quiet {number}", 0.0)
    assert sent(rates, "busy", 60.0) == 20
    rates.tidy(60.5)
    assert len(rates._devices) == 1
    assert sent(rates, "busy", 60.5) == 5
