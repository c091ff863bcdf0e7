"""A site's process on the SQLite log killed at random: every hop is exactly once."""

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.streams.beds import Bed, sqlite_bed
from tests.integration.streams.harness import FIRST, LAST, chain, judge, until

pytestmark = pytest.mark.asyncio

KILLS = 10


@pytest.mark.parametrize(("hops", "ids"), [(1, 100_000), (5, 30_000)])
async def test_hops_killed_at_random_skip_and_repeat_nothing(
    tmp_path: Path, hops: int, ids: int
) -> None:
    seed = random.randrange(1_000_000)
    dice = random.Random(seed)
    beside = sqlite_bed(tmp_path, owner=False)
    worker = await _worker(tmp_path, hops)
    await until(lambda: _is_there(tmp_path), 30, "there is no log")
    await beside.log.start()
    for _ in range(KILLS):
        await _grown(beside, LAST, by=dice.randrange(1, 2 * ids // KILLS))
        worker.kill()
        await worker.wait()
        worker = await _worker(tmp_path, hops)
    await _grown(beside, FIRST, by=max(ids - await beside.count(FIRST), 1))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(worker.wait(), 150) == 0
    await beside.stop()
    bed = sqlite_bed(tmp_path)
    await bed.log.start()
    loaded = await bed.count(FIRST)
    assert loaded >= ids
    for processor in chain(bed.site, hops):
        found = judge(await bed.read_all(processor.target), loaded)
        assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0), (
            f"seed {seed}: {processor.target} of {loaded}: {found}"
        )
    await bed.stop()


async def _worker(folder: Path, hops: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.streams.sqlite_worker", str(folder), str(hops)
    )


async def _is_there(folder: Path) -> bool:
    return (folder / "log.db").exists()


async def _grown(bed: Bed, name: str, by: int) -> None:
    least = await _count(bed, name) + by

    async def has_grown() -> bool:
        return await _count(bed, name) >= least

    await until(has_grown, 60, f"{name} does not grow")


async def _count(bed: Bed, name: str) -> int:
    known = await bed.log.topics.partitions()
    return await bed.count(name) if f"{bed.site}.{name}" in known else 0
