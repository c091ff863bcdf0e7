"""Edge and Cloud are killed at random under load: every acknowledged message is stored."""

from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.tools.bench.crash import CrashPlan, crash, faults
from edgeferry.tools.bench.installation import running

DEVICES = 8


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_when_edge_and_cloud_are_killed(tmp_path: Path) -> None:
    plan = CrashPlan(rate=200, seconds=20, pauses=(1.0, 4.0))
    async with running(tmp_path / "data", DEVICES, ()) as installation:
        line = await crash(installation, plan, SystemClock())
    by_role = line["kills_by_role"]
    assert isinstance(by_role, dict)
    assert by_role.keys() == {"edge", "cloud"}, by_role
    assert faults(line) == [], line
    for name in ("cpu_seconds", "cpu_seconds_drained"):
        used = line[name]
        assert isinstance(used, dict)
        assert {"edge", "cloud", "kafka", "cassandra"} <= used.keys(), used
