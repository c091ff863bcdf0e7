"""How many connections are kept, and which go first."""

import logging

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.runtime.connection_bound import Bounds, ConnectionBound


class Dropped:
    def __init__(self) -> None:
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Bench:
    def __init__(self, most: int, waiting: int, per_address: int) -> None:
        self.clock = ManualClock()
        self.turned_away = 0
        self.bound = ConnectionBound(
            "MQTT",
            Bounds(most, waiting, per_address),
            monotonic=self.clock.monotonic,
            turned_away=self._count,
        )

    def _count(self) -> None:
        self.turned_away += 1

    def enter(self, address: str = "192.0.2.1", *, settled: bool = False) -> Dropped:
        """As its owner does."""
        connection = Dropped()
        if not self.bound.enter(connection, address):
            connection.abort()
        elif settled:
            self.bound.settle(connection)
        return connection


def test_the_one_that_waits_longest_makes_room() -> None:
    bench = Bench(most=3, waiting=3, per_address=3)
    first, second, third = (bench.enter(f"192.0.2.{i}") for i in range(3))
    bench.bound.settle(first)
    fourth = bench.enter("192.0.2.9")
    assert [c.aborted for c in (first, second, third, fourth)] == [False, True, False, False]
    assert (bench.bound.open, bench.turned_away) == (3, 1)
    bench.bound.leave(second)  # as it is told a moment later
    assert bench.bound.open == 3


def test_who_has_logged_in_makes_room_for_nobody() -> None:
    bench = Bench(most=3, waiting=2, per_address=2)
    settled = [bench.enter(settled=True) for _ in range(3)]
    assert bench.enter("192.0.2.9").aborted
    assert not any(connection.aborted for connection in settled)
    bench.bound.leave(settled[0])
    assert not bench.enter("192.0.2.9").aborted


def test_few_may_wait_however_many_may_be_open() -> None:
    bench = Bench(most=100, waiting=4, per_address=100)
    waiting = [bench.enter(f"192.0.2.{i}") for i in range(6)]
    assert [connection.aborted for connection in waiting] == [True] * 2 + [False] * 4
    assert bench.bound.open == 4


def test_an_address_keeps_out_only_itself() -> None:
    bench = Bench(most=100, waiting=10, per_address=5)
    mine = [bench.enter() for _ in range(20)]
    assert [connection.aborted for connection in mine] == [False] * 5 + [True] * 15
    assert not bench.enter("192.0.2.2").aborted
    bench.bound.settle(mine[0])
    assert not bench.enter().aborted


def test_one_customers_ipv6_addresses_count_as_one() -> None:
    bench = Bench(most=100, waiting=10, per_address=5)
    assert sum(bench.enter(f"2001:db8::{i:x}").aborted for i in range(20)) == 15
    assert not bench.enter("2001:db8:0:1::1").aborted


def test_who_waits_again_waits_anew() -> None:
    bench = Bench(most=2, waiting=2, per_address=2)
    first, second = bench.enter(), bench.enter()
    bench.bound.settle(first)
    bench.bound.wait(first)
    bench.enter("192.0.2.9")
    assert (first.aborted, second.aborted) == (False, True)


def test_who_has_left_can_do_nothing_any_more() -> None:
    bench = Bench(most=2, waiting=2, per_address=1)
    gone = bench.enter()
    bench.bound.leave(gone)
    bench.bound.wait(gone)
    bench.bound.settle(gone)
    bench.bound.leave(gone)
    assert bench.bound.open == 0
    assert not bench.enter().aborted


def test_a_storm_is_one_line_per_period(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(most=2, waiting=2, per_address=2)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            bench.enter()
        assert len(caplog.records) == 1
        bench.clock.advance(10)
        bench.enter()
    assert len(caplog.records) == 2
    assert "MQTT: 98 connections were turned away" in caplog.records[1].getMessage()
    assert bench.turned_away == 99
