"""What waiting costs on the SQLite log: an Edge with nothing to do does nothing."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.integration.streams.beds import sqlite_bed
from tests.integration.streams.harness import chain, until

pytestmark = pytest.mark.asyncio

APPS = 12
SECONDS = 3.0
MOST_CPU = 0.03


async def test_idle_apps_cost_next_to_nothing(tmp_path: Path) -> None:
    bed = sqlite_bed(tmp_path)
    processors = chain(bed.site, APPS)
    await bed.start(between=[processor.source for processor in processors[1:]])
    running = bed.runner(*processors)
    await running.start()
    await running.ready()
    await bed.load(0, 100)
    await bed.drained(*(processor.source for processor in processors))
    loop = asyncio.get_running_loop()
    begun, spent = loop.time(), time.process_time()

    async def time_has_passed() -> bool:
        return loop.time() - begun >= SECONDS

    await until(time_has_passed, 2 * SECONDS, "time stands still", every=SECONDS / 4)
    assert (time.process_time() - spent) / (loop.time() - begun) < MOST_CPU
    await running.stop()
    await bed.stop()
