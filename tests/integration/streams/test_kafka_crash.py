"""Workers and brokers killed under load: nothing skipped, order per key kept."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from edgeferry.tools.servers import LocalServers, ServerOptions
from tests.integration.streams.beds import Bed, kafka_bed
from tests.integration.streams.harness import LAST, Forward, until

pytestmark = pytest.mark.asyncio

WORKERS = 2
KILLS = 8
IDS = 100_000


async def _worker(kafka: str, site: str, slot: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.streams.kafka_worker", kafka, site, str(slot)
    )


async def grown(bed: Bed, by: int) -> None:
    """Return when so many more records stand in the output."""
    least = await bed.count(LAST) + by

    async def has_grown() -> bool:
        return await bed.count(LAST) >= least

    await until(has_grown, 60, "the output does not grow")


async def test_two_workers_killed_at_random_skip_nothing(kafka: str, on_kafka: Bed) -> None:
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    workers = [await _worker(kafka, on_kafka.site, slot) for slot in range(WORKERS)]
    killing_is_over = asyncio.Event()

    async def load_under_way() -> int:
        count = 0
        while count < IDS or not killing_is_over.is_set():
            await on_kafka.load(count, count + 1_000)
            count += 1_000
            await asyncio.sleep(0.2 * dice.random())
        return count

    loading = asyncio.create_task(load_under_way())
    for _ in range(KILLS):
        await grown(on_kafka, by=dice.randrange(1, 10_000))
        slot = dice.randrange(WORKERS)
        workers[slot].kill()
        await workers[slot].wait()
        workers[slot] = await _worker(kafka, on_kafka.site, slot)
    killing_is_over.set()
    count = await loading
    await on_kafka.drained(seconds=120)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    found = await on_kafka.arrived(count)
    assert (found.missing, found.out_of_order) == (0, 0), f"seed {seed}: {found}"


async def test_a_broker_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    server = LocalServers(tmp_path, options=ServerOptions(tied=True)).kafka
    await server.start()
    assert server.address is not None
    bed = kafka_bed(server.address, "cloud")
    await bed.start()
    running = bed.runner(Forward(bed.site))
    await running.start()
    await running.ready()
    loading = asyncio.create_task(bed.load(0, 50_000, chunk=100))
    for _ in range(2):
        await grown(bed, by=5_000)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.wait()
        await server.start()
    await asyncio.wait_for(loading, 120)
    await bed.drained(seconds=120)
    assert running.health().alive
    await running.stop()
    found = await bed.arrived(50_000)
    await bed.stop()
    await server.stop()
    assert (found.missing, found.out_of_order) == (0, 0), found
