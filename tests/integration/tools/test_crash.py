"""Edge and Cloud are killed at random under load: every acknowledged message is stored."""

from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.tools.bench.crash import CrashPlan, crash
from edgeferry.tools.bench.examination import faults
from edgeferry.tools.bench.installation import running

DEVICES = 8


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_when_edge_and_cloud_are_killed(tmp_path: Path) -> None:
    plan = CrashPlan(rate=200, seconds=20, kills=4)
    async with running(tmp_path / "data", DEVICES, ()) as installation:
        line = await crash(installation, plan, SystemClock())
    assert line["kills_by_role"] == {"edge": 2, "cloud": 2}, line
    assert faults(line) == [], line
    for name in ("cpu_seconds", "cpu_seconds_drained"):
        used = line[name]
        assert isinstance(used, dict)
        assert {"edge", "cloud", "kafka", "cassandra"} <= used.keys(), used
