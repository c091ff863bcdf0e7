"""One key, two Edges: each connection takes the place of the other's, and that is told."""

import logging
from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.sync.take_overs import ALIVE_SECONDS, WINDOW_SECONDS, TakeOvers
from tests.unit.sync.links import Pair, until


class MovedClock(SystemClock):
    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.mark.asyncio
async def test_two_edges_on_copies_of_one_folder_are_told_at_both_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pair = Pair(tmp_path)
    async with pair.cloud_runs(), pair.edge_runs() as first:
        await until(lambda: first.status().connected)
        async with pair.edge_runs() as second:
            await until(lambda: "two Edges run with its key" in caplog.text)
            await until(lambda: second.status().connected or first.status().connected)
        await until(lambda: first.status().connected)
        pair.edge.produce("cloud-events", range(5))
        await until(lambda: first.status().lanes["cloud-events"].acked == 5)
    told = [r for r in caplog.records if "two Edges run with its key" in r.getMessage()]
    assert all("edge-one" in record.getMessage() for record in told)
    at_the_edge = [r for r in caplog.records if "has taken the place of this one" in r.getMessage()]
    assert {record.name for record in at_the_edge} >= {"edgeferry.sync.edge"}


def test_an_edge_whose_connection_had_gone_without_a_word_is_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    take_overs = TakeOvers(MovedClock())
    for _ in range(5):
        take_overs.note("north", "a", "b", ALIVE_SECONDS + 1)
    take_overs.note("north", "a", "b", 1)
    take_overs.note("south", "a", "b", 1)
    assert not caplog.records


def test_chance_after_a_long_time_stays_chance(caplog: pytest.LogCaptureFixture) -> None:
    clock = MovedClock()
    take_overs = TakeOvers(clock)
    for _ in range(3):
        take_overs.note("north", "a", "b", 1)
        clock.seconds += WINDOW_SECONDS + 1
    assert not caplog.records
    take_overs.note("north", "a", "b", 1)
    take_overs.note("north", "b", "a", 1)
    assert "north: 2 times" in caplog.text
