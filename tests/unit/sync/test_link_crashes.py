"""Both ends crash at random over real gRPC: nothing is lost, order per key stays, no gap.

A crash here: appends stop halfway, positions can be saved no more, then the process ends.
"""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from edgeferry.sync.filter import EventFilter
from edgeferry.sync.recovery import origin_of
from tests.unit.sync.links import Pair, Site, until

EVENTS = 1500
ROUNDS = 8


def crash(site: Site, chance: random.Random) -> None:
    site.positions.away = True
    for writer in site.writers:
        writer.fail_after = chance.randrange(60)


def after_the_filter(pair: Pair) -> list[int]:
    numbers: list[int] = []
    for partition in pair.cloud.log.partitions["cloud.cloud-events"]:
        event_filter = EventFilter({}, 0)
        for record in partition:
            origin = origin_of(record.headers)
            assert origin is not None
            if event_filter.passes(record.offset, origin):
                numbers.append(int((record.value or b"").split()[-1]))
    return sorted(numbers)


@pytest.mark.asyncio
@pytest.mark.parametrize("seed", range(4))
async def test_random_crashes_lose_nothing_and_reorder_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    pair = Pair(tmp_path)
    pair.edge_settings = pair.edge_settings.model_copy(update={"batch_bytes": 1024})
    async with pair.cloud_runs():
        pass  # takes a port
    made = 0
    for _ in range(ROUNDS):
        async with AsyncExitStack() as stack:
            cloud = await stack.enter_async_context(pair.cloud_runs())
            await stack.enter_async_context(pair.edge_runs())
            upto = made + EVENTS // ROUNDS
            pair.edge.produce("cloud-events", range(made, upto), keys=7)
            made = upto
            await until(lambda: len(pair.cloud.log.records("cloud.cloud-events")) > made // 2)  # noqa: B023
            for _ in range(chance.randrange(20)):
                await asyncio.sleep(0)
            for site in (pair.cloud, pair.edge):
                if chance.random() < 0.7:
                    crash(site, chance)
            assert cloud.health().alive
        pair.cloud.positions.away = pair.edge.positions.away = False
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: set(pair.arrived()) == set(range(made)))
    assert after_the_filter(pair) == list(range(made))
    for numbers in pair.arrived_by_key().values():
        firsts = list(dict.fromkeys(numbers))
        assert firsts == sorted(firsts)
