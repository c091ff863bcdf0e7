"""Sites whose chains call chains, send commands and answer calls; what they do of messages."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.integration.tools.down import DEADLINE, MqttDevice, Rest

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


async def messages_pass(cloud: Rest, edge: Rest, ready: Mapping[str, Any]) -> None:
    """Through the chains of ``chains``, at both ends."""
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
