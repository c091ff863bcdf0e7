"""Edge and Cloud are killed at random while attributes and commands go both ways: afterwards
both hold the same, and no command was carried out twice."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.tools.bench.both_ways import BothPlan
from edgeferry.tools.bench.crash import CrashPlan, crash
from edgeferry.tools.bench.examination import faults
from edgeferry.tools.bench.installation import EMBEDDED, Shape, running

pytestmark = pytest.mark.asyncio
DEVICES = 4
WITHOUT_SERVERS_OF_ITS_OWN = Shape("")
PLAN = CrashPlan(rate=50, seconds=12, kills=4, both=BothPlan(rate=8, commands=8, expiry_seconds=15))


async def crashed(data: Path, options: Sequence[str], shape: Shape) -> None:
    async with running(data, DEVICES, options, shape=shape) as installation:
        line = await crash(installation, PLAN, SystemClock())
    assert line["kills_by_role"] == {"edge": 2, "cloud": 2}, line
    assert faults(line) == [], line
    both = line["both"]
    assert isinstance(both, dict)
    assert both["changes_by"].keys() == {"edge", "cloud", "devices"}, line
    assert both["executed"] > 0, line
    assert both["states"].keys() <= {"SUCCESSFUL", "EXPIRED"}, line


async def test_both_sites_hold_the_same_after_kills_on_sqlite(tmp_path: Path) -> None:
    await crashed(tmp_path / "data", (), Shape(EMBEDDED))


@pytest.mark.usefixtures("emptied")
async def test_both_sites_hold_the_same_after_kills_on_kafka_and_cassandra(
    tmp_path: Path, kafka: str, cassandra: str
) -> None:
    edge = ("--edge-log", "kafka", "--edge-store", "cassandra")
    options = ("--kafka", kafka, "--cassandra", cassandra, *edge)
    await crashed(tmp_path / "data", options, WITHOUT_SERVERS_OF_ITS_OWN)
