"""How far each lane is, as the Cloud tells it: made, sent, received, acked, applied."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.sync import link
from edgeferry.sync.cloud import CloudSync, EdgeStatus
from edgeferry.sync.lane_rate import LaneRate
from tests.unit.sync.links import Pair


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    for name in ("_MADE_SECONDS", "_FOLLOW_SECONDS"):
        monkeypatch.setattr(link, name, 0.05)
    made = Pair(tmp_path)
    outboxes = [made.cloud.outbox(lane) for lane in ("edge-events", "edge-events-ts")]
    for lane in ("edge-events", "edge-events-ts"):
        made.cloud.log.make(f"cloud.{lane}", 1)
    made.down = lambda _: outboxes
    return made


async def until_told(cloud: CloudSync, condition: Callable[[EdgeStatus], bool]) -> EdgeStatus:
    async with asyncio.timeout(10):
        while True:
            (status,) = await cloud.edges()
            if status.lanes and condition(status):
                return status
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_a_lane_up_tells_what_is_handed_on_in_the_cloud(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(30))
    async with pair.cloud_runs() as cloud:
        async with pair.edge_runs():
            status = await until_told(cloud, lambda told: told.lanes[0].acked == 30)
            lane = status.lanes[0]
            assert (lane.made, lane.sent, lane.received, lane.depth) == (30, 30, 30, 0)
            assert (lane.applied or 0) < 30
            await pair.cloud.handle("cloud-events")
            await until_told(cloud, lambda told: told.lanes[0].applied == 30)

            def moves(told: EdgeStatus) -> bool:
                pair.edge.produce("cloud-events", [30])
                return told.lanes[0].rate > 0

            await until_told(cloud, moves)
        status = await until_told(cloud, lambda told: not told.connected)
        assert (status.lanes[0].acked > 30, status.lanes[0].applied) == (True, None)


@pytest.mark.asyncio
async def test_a_lane_down_tells_what_the_edge_has_handed_on(pair: Pair) -> None:
    pair.cloud.produce("edge-events", range(20))
    async with pair.cloud_runs() as cloud:
        async with pair.edge_runs():
            status = await until_told(cloud, lambda told: told.down[0].acked == 20)
            assert (status.down[0].applied or 0) < 20
            await pair.edge.handle("edge-events")
            await until_told(cloud, lambda told: told.down[0].applied == 20)
            pair.cloud.produce("edge-events", range(20, 25))
            await until_told(cloud, lambda told: told.down[0].acked == 25)
        status = await until_told(cloud, lambda told: not told.connected)
        assert (status.down[0].made, status.down[0].applied) == (25, 20)


@pytest.mark.asyncio
async def test_a_lane_that_is_held_back_tells_how_old_its_oldest_event_is(pair: Pair) -> None:
    pair.full = "no room"
    async with pair.cloud_runs() as cloud, pair.edge_runs():
        await until_told(cloud, lambda told: told.connected)
        pair.edge.produce("cloud-events", range(5))
        status = await until_told(cloud, lambda told: (told.lanes[0].oldest_age_ms or 0) > 100)
        assert (status.lanes[0].depth, status.lanes[0].acked) == (5, 0)


def test_a_rate_is_that_of_the_last_ten_seconds() -> None:
    rate = LaneRate()
    assert rate.per_second(0) == 0
    for second in range(30):
        rate.sample(second, 1, second * 5)
    assert rate.per_second(29) == 5
    for second in range(30, 35):
        rate.sample(second, 1, 29 * 5)
    assert rate.per_second(34) == 2.5
    assert rate.per_second(60) == 0


def test_a_rate_begins_anew_with_an_epoch() -> None:
    rate = LaneRate()
    rate.sample(0, 1, 100)
    rate.sample(1, 2, 0)
    assert rate.per_second(1) == 0
    rate.sample(2, 2, 8)
    assert rate.per_second(2) == 8
