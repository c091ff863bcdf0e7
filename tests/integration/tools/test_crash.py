"""Edge and Cloud are killed at random under load: every acknowledged message is stored."""

from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.tools.bench.crash import CrashPlan, crash
from edgeferry.tools.bench.installation import running

DEVICES = 8


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_when_edge_and_cloud_are_killed(tmp_path: Path) -> None:
    plan = CrashPlan(rate=200, seconds=30, pauses=(1.0, 4.0))
    async with running(tmp_path / "data", DEVICES, ()) as installation:
        line = await crash(installation, plan, SystemClock())
    kills = line["kills"]
    assert isinstance(kills, int)
    assert kills >= 1
    wrong = ("lost", "extra", "duplicates", "wrong_values", "stale_latest", "out_of_order")
    assert {name: line[name] for name in wrong} == dict.fromkeys(wrong, 0), line
