"""Workers and brokers killed under load: nothing skipped, order per key kept."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.tools.servers import LocalServers, ServerOptions
from tests.integration.streams.harness import (
    Forward,
    arrived,
    drained,
    load,
    make_topics,
    new_writer,
    runner,
)

pytestmark = pytest.mark.asyncio

WORKERS = 2
KILLS = 8
IDS = 100_000


@pytest_asyncio.fixture
async def site(kafka: str, topic_prefix: str) -> str:
    await make_topics(kafka, topic_prefix)
    return topic_prefix


async def _worker(kafka: str, site: str, slot: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.streams.worker", kafka, site, str(slot)
    )


async def test_two_workers_killed_at_random_skip_nothing(kafka: str, site: str) -> None:
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    writer = new_writer(kafka)
    workers = [await _worker(kafka, site, slot) for slot in range(WORKERS)]

    killing_is_over = asyncio.Event()

    async def load_under_way() -> int:
        count = 0
        while count < IDS or not killing_is_over.is_set():
            await load(writer, site, count, count + 1_000)
            count += 1_000
            await asyncio.sleep(0.2 * dice.random())
        return count

    loading = asyncio.create_task(load_under_way())
    for _ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        slot = dice.randrange(WORKERS)
        workers[slot].kill()
        await workers[slot].wait()
        workers[slot] = await _worker(kafka, site, slot)
    killing_is_over.set()
    count = await loading
    await drained(kafka, site, seconds=120)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    await writer.stop()
    found = await arrived(kafka, site, count)
    assert (found.missing, found.out_of_order) == (0, 0), f"seed {seed}: {found}"


async def test_a_broker_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    server = LocalServers(tmp_path, options=ServerOptions(tied=True)).kafka
    await server.start()
    assert server.address is not None
    kafka, site = server.address, "cloud"
    await make_topics(kafka, site)
    writer = new_writer(kafka)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await running.ready()
    loading = asyncio.create_task(load(writer, site, 0, 50_000, chunk=100))
    for _ in range(2):
        await asyncio.sleep(1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.wait()
        await server.start()
    await asyncio.wait_for(loading, 120)
    await drained(kafka, site, seconds=120)
    assert running.health().alive
    await running.stop()
    await writer.stop()
    found = await arrived(kafka, site, 50_000)
    await server.stop()
    assert (found.missing, found.out_of_order) == (0, 0), found
