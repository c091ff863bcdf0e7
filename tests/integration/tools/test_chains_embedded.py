"""Chains end to end, without a server: nested ones, commands that a chain sends, calls that it
answers, and what it passes down."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import orjson
import pytest

from tests.integration.tools.chain_sites import TS, chains, history, messages_pass, post, until
from tests.integration.tools.down import DEADLINE, MqttDevice, Rest, up

pytestmark = pytest.mark.asyncio


async def test_messages_pass_through_chains_in_chains_at_both_ends_and_calls_are_answered(
    tmp_path: Path,
) -> None:
    options = chains(tmp_path / "chains")
    async with up(tmp_path / "data", *options) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        await messages_pass(cloud, edge, ready)


async def test_a_command_of_a_chain_is_executed_and_answered_once_whatever_is_killed(
    tmp_path: Path,
) -> None:
    data, options = tmp_path / "data", chains(tmp_path / "chains")
    async with up(data, *options) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        for number in range(2):
            await post(edge, {"method": f"m{number}", "params": number}, TS + number)
            await kill(data, "cloud")
            await kill(data, "edge")
        async with MqttDevice(ready) as device:
            answers = [(number, f"{number}") for number in range(2)]
            await until(cloud, "echo", lambda rows: rows == answers)
            assert sorted(one["method"] for one in device.commands) == ["m0", "m1"]


async def kill(data: Path, site: str) -> None:
    """And wait until it runs again."""

    def pid() -> int | None:
        found: dict[str, int] = orjson.loads((data / "running.json").read_bytes())["pids"]
        return found.get(site)

    async with asyncio.timeout(DEADLINE):
        while (before := pid()) is None:
            await asyncio.sleep(0.02)
        os.kill(before, signal.SIGKILL)
        while pid() in (None, before):
            await asyncio.sleep(0.02)


async def test_what_the_cloud_says_of_an_edges_device_goes_down_by_the_chain_cloud_to_edge(
    tmp_path: Path,
) -> None:
    options = ("--chain-cloud", "cloud_to_edge")
    async with up(tmp_path / "data", *options) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        path = f"/api/plugins/telemetry/DEVICE/{cloud.device}/timeseries"
        async with MqttDevice(ready) as device:
            # of a device at the Cloud, and saved through REST, several timestamps in one
            await post(cloud, {"a": 1})
            saved = [{"ts": TS + n, "values": {"a": n + 1}} for n in (1, 2)]
            assert (await cloud.call("POST", f"{path}/ANY", json=saved)).is_success
            await until(edge, "a", lambda rows: rows == [(0, "1"), (1, "2"), (2, "3")])

            wanted = {"keys": "a", "startTs": TS + 1, "endTs": TS + 2}
            assert (await cloud.call("DELETE", f"{path}/delete", params=wanted)).is_success
            await until(edge, "a", lambda rows: rows == [(0, "1"), (2, "3")])
            assert await history(cloud, "a") == [(0, "1"), (2, "3")]

            # by itself and by the push node: two events, one change
            for limit in (5, 6):
                await cloud.save_attributes("SHARED_SCOPE", {"limit": limit})
            await until_attribute_events(cloud, 4)
            await cloud.save_attributes("SERVER_SCOPE", {"behind_them": 1})
            await edge.until_attributes("SERVER_SCOPE", {"behind_them": 1})
            await device.until_attributes({"limit": 6})
            assert device.attributes == [{"limit": 5}, {"limit": 6}]


async def until_attribute_events(cloud: Rest, count: int) -> None:
    """So many changes of attributes stand in the Edge queue."""
    path, page = f"/api/edge/{await cloud.edge_id()}/events", {"pageSize": 50, "page": 0}
    async with asyncio.timeout(DEADLINE):
        while True:
            events = (await cloud.call("GET", path, params=page)).json()["data"]
            if [row["action"] for row in events].count("ATTRIBUTES_UPDATED") >= count:
                return
            await asyncio.sleep(0.02)
