"""Chains end to end, without a server: nested ones, commands that a chain sends, calls that it
answers, and what it passes down."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.tools.down import DEADLINE, MqttDevice, Rest, up

pytestmark = pytest.mark.asyncio

TS = 1_700_000_000_000
EDGE_CHAIN = """
chain: at_the_edge
version: 1
input: switch
nodes:
  switch: {type: message_type_switch}
  save: {type: save_timeseries}
  sort: {type: rule_chain, config: {chain: sorting}}
  cloud: {type: push_to_cloud}
wires:
  - {from: switch, relation: Post telemetry, to: [save]}
  - {from: save, relation: Success, to: [sort]}
  - {from: sort, relation: hot, to: [cloud]}
  - {from: switch, relation: RPC Request from Device, to: [cloud]}
"""
SORTING = """
chain: sorting
version: 1
input: is_hot
nodes:
  is_hot: {type: script_filter, config: {expression: "msg.t > 20 or msg.method != null"}}
  hot: {type: output}
  cold: {type: output}
wires:
  - {from: is_hot, relation: "True", to: [hot]}
  - {from: is_hot, relation: "False", to: [cold]}
"""
CLOUD_CHAIN = """
chain: in_the_cloud
version: 1
input: switch
nodes:
  switch: {type: message_type_switch}
  handle: {type: rule_chain, config: {chain: handling}}
  save: {type: save_timeseries}
  reply: {type: rpc_call_reply}
wires:
  - {from: switch, relation: Post telemetry, to: [handle]}
  - {from: handle, relation: to_store, to: [save]}
  - {from: switch, relation: RPC Request from Device, to: [reply]}
"""
HANDLING = """
chain: handling
version: 1
input: is_command
nodes:
  is_command: {type: script_filter, config: {expression: msg.method != null}}
  ask: {type: rule_chain, config: {chain: asking}}
  to_store: {type: output}
wires:
  - {from: is_command, relation: "True", to: [ask]}
  - {from: is_command, relation: "False", to: [to_store]}
  - {from: ask, relation: answered, to: [to_store]}
  - {from: ask, relation: failure, to: [to_store]}
"""
ASKING = """
chain: asking
version: 1
input: call
nodes:
  call: {type: rpc_call_request, config: {timeout_in_seconds: 60}}
  answered: {type: output}
  failure: {type: output}
wires:
  - {from: call, relation: Success, to: [answered]}
  - {from: call, relation: Failure, to: [failure]}
"""


def chains(folder: Path) -> tuple[str, ...]:
    """Options of ``up``."""
    folder.mkdir()
    for text in (EDGE_CHAIN, SORTING, CLOUD_CHAIN, HANDLING, ASKING):
        name = text.split()[1]
        (folder / f"{name}.yaml").write_text(text)
    return (
        *("--chain-edge", str(folder / "at_the_edge.yaml")),
        *("--chain-cloud", str(folder / "in_the_cloud.yaml")),
    )


async def post(rest: Rest, values: dict[str, Any], ts: int = TS) -> None:
    body = {"ts": ts, "values": values}
    answer = await rest.call("POST", f"/api/v1/{rest.token}/telemetry", json=body)
    assert answer.status_code == 200, answer.text


async def history(rest: Rest, key: str) -> list[tuple[int, Any]]:
    asked = {"keys": key, "startTs": TS, "endTs": TS + 1000, "orderBy": "ASC"}
    path = f"/api/plugins/telemetry/DEVICE/{rest.device}/values/timeseries"
    rows = (await rest.call("GET", path, params=asked)).json().get(key, [])
    return [(row["ts"] - TS, row["value"]) for row in rows]


async def until(rest: Rest, key: str, wanted: Callable[[list[tuple[int, Any]]], bool]) -> None:
    """``wanted``: of the history of the key. A site that starts again is waited for."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                if wanted(await history(rest, key)):
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.02)


async def test_messages_pass_through_chains_in_chains_at_both_ends_and_calls_are_answered(
    tmp_path: Path,
) -> None:
    options = chains(tmp_path / "chains")
    async with up(tmp_path / "data", *options) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        for number, value in enumerate((25, 15, 35)):
            await post(edge, {"t": value}, TS + number)
        await until(cloud, "t", lambda rows: rows == [(0, "25"), (2, "35")])
        await until(edge, "t", lambda rows: rows == [(0, "25"), (1, "15"), (2, "35")])

        # a call of the device goes up, is answered by the Cloud's chain, and comes down
        call = {"method": "echo", "params": {"n": 1}}
        answer = await edge.call("POST", f"/api/v1/{edge.token}/rpc", json=call)
        assert (answer.status_code, answer.json()) == (200, call)

        # a message in the Cloud makes a command, whose answer goes on in its place
        async with MqttDevice(ready) as device:
            await post(edge, {"method": "set", "params": {"v": 7}}, TS + 10)
            await until(cloud, "echo", lambda rows: rows == [(10, '{"v":7}')])
            assert [one["method"] for one in device.commands] == ["set"]
        assert await history(cloud, "method") == []

        # without a device its time is over, and the message takes Failure
        late = {"method": "late", "params": 1, "expirationTime": 1}
        await post(edge, late, TS + 20)
        await until(cloud, "error", lambda rows: rows == [(20, "TIMEOUT")])


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
