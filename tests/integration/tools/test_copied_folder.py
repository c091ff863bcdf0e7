"""A data folder that was copied: what is started there leaves the original alone."""

import hashlib
import shutil
from pathlib import Path

import httpx
import pytest

from edgeferry.core.clock import SystemClock
from tests.integration.tools.ends import Ends
from tests.integration.tools.test_edge_and_cloud import (
    CLOUD_PORTS,
    EDGE_PORTS,
    cloud,
    device,
    edge,
    edges,
    linked,
)

pytestmark = pytest.mark.asyncio


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


async def test_sites_started_on_a_copy_read_and_write_nothing_of_the_original(
    tmp_path: Path,
) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    here, there = original / "c", original / "e"
    here.mkdir(parents=True)
    there.mkdir()
    now = SystemClock().now_ms()
    async with httpx.AsyncClient() as client:
        async with cloud(here, *CLOUD_PORTS) as at:
            words = (await edges(at["settings"], "add", "north"))["command"].split()[2:]
            async with edge(there, *EDGE_PORTS, *words) as ready:
                pump = await device(ready["settings"])
                await linked(ready)
        before = contents(original)
        shutil.copytree(original, copy)
        original.rename(tmp_path / "hidden")
        async with cloud(copy / "c") as at, edge(copy / "e") as ready:
            assert str(copy) in at["settings"]
            passwords = {"cloud": copy / "c/cloud/admin-password"}
            ends = Ends(ready["http"], at["http"], pump, passwords)
            await linked(ready)
            await ends.publish(client, {"ts": now, "values": {"temperature": 21.5}})
            await ends.until_read(client, "temperature", now, "21.5")
    assert not original.exists()
    assert contents(tmp_path / "hidden") == before
