"""Requirement 6. A push to edge node of a Cloud chain converts a message to an Edge Event and
stores it in the Cloud's Edge queue for asynchronous delivery to the target Edge."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.core.message import RuleMessage
from tests.integration.requirements.pair import TS, Device, Pair, new_device
from tests.integration.tools.down import MqttDevice
from tests.integration.tools.sites import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
FAR_MS = 2_000_000_000_000


@asynccontextmanager
async def by_nodes_alone(pair: Pair) -> AsyncIterator[None]:
    """The Edge gets no attributes by themselves meanwhile."""

    async def switch(on: bool) -> None:
        path = f"/api/edge/{pair.edge_id}"
        edge = (await pair.cloud.rest.call("GET", path)).json()
        edge["additionalInfo"] = {"attributeSync": on}
        saved = await pair.cloud.rest.call("POST", "/api/edge", json=edge)
        assert saved.status_code == 200, saved.text

    await switch(False)
    try:
        yield
    finally:
        await switch(True)


def told(events: list[dict[str, Any]], action: str) -> list[Any]:
    return [event["body"] for event in events if event["action"] == action]


async def test_requirement_06_a_pushed_message_waits_in_the_edge_queue_for_its_edge(
    pushing: Pair,
) -> None:
    edge, cloud = pushing.edge, pushing.cloud
    device = await pushing.device("06-pushed", "configured")
    about = cloud.rest.about(device)
    before = len(await pushing.events(device))
    async with by_nodes_alone(pushing), pushing.link.cut("refused"):
        await cloud.post(device, "telemetry", {"ts": TS, "values": {"target": 21.5}})
        await cloud.post(device, "attributes", {"mode": "eco"})
        await about.save_attributes("SHARED_SCOPE", {"limit": 5, "gone": 1})
        await about.save_attributes("SERVER_SCOPE", {"place": "roof"})
        path = f"/api/plugins/telemetry/DEVICE/{device['id']}/SHARED_SCOPE"
        assert (await about.call("DELETE", path, params={"keys": "gone"})).is_success

        events = await pushing.until_events(device, lambda found: len(found) == before + 5)

        assert [body["timeseries"] for body in told(events, "TIMESERIES_UPDATED")] == [
            [{"ts": TS, "values": {"target": 21.5}}]
        ]
        (posted,) = told(events, "POST_ATTRIBUTES")
        assert (posted["scope"], posted["kv"]) == ("SHARED_SCOPE", {"mode": "eco"})
        assert [(body["scope"], body["kv"]) for body in told(events, "ATTRIBUTES_UPDATED")] == [
            ("SHARED_SCOPE", {"limit": 5, "gone": 1}),
            ("SERVER_SCOPE", {"place": "roof"}),
        ]
        assert told(events, "ATTRIBUTES_DELETED") == [{"scope": "SHARED_SCOPE", "keys": ["gone"]}]
        assert edge.stored.history(device["id"]) == {}
        assert edge.stored.attributes(device["id"]) == {}

    await edge.until_stored(lambda held: held.history(device["id"]) == {("target", TS): 21.5})
    attributes = {
        ("SHARED_SCOPE", "mode"): "eco",
        ("SHARED_SCOPE", "limit"): 5,
        ("SHARED_SCOPE", "gone"): None,
        ("SERVER_SCOPE", "place"): "roof",
    }
    await edge.until_stored(lambda held: held.attributes(device["id"]) == attributes)


async def test_requirement_06_a_command_waits_in_the_edge_queue_for_its_edge(
    pushing: Pair,
) -> None:
    device = await pushing.device("06-commanded")
    about = pushing.cloud.rest.about(device)
    async with pushing.link.cut("refused"):
        call = {"method": "open", "params": {"by": 3}, "persistent": True}
        answer = await about.call(
            "POST", f"/api/rpc/twoway/{device['id']}", json={**call, "expirationTime": FAR_MS}
        )
        rpc_id = answer.json()["rpcId"]
        events = await pushing.until_events(device, lambda found: told(found, "RPC_CALL"))
        (command,) = told(events, "RPC_CALL")
        assert (command["method"], command["requestUUID"]) == ("open", rpc_id)
        await about.until_rpc(rpc_id, "QUEUED")

    await carried_out(pushing, device, rpc_id)


def wish(device: Device, method: str, **metadata: str) -> RuleMessage:
    """A command as a message of the Cloud's chain; nothing for a method is no command."""
    now_ms = round(time.time() * 1000)
    return RuleMessage(
        str(uuid.uuid4()), DEFAULT_TENANT_ID, now_ms, now_ms * 1000, [],
        "RPC_CALL_FROM_SERVER_TO_DEVICE",
        "DEVICE", device["id"], metadata, "JSON",
        json.dumps({"method": method, "params": {"by": 3}, "persistent": True}),
    )  # fmt: skip


async def test_requirement_06_a_pushed_command_waits_in_the_edge_queue_and_is_made_once(
    pushing: Pair,
) -> None:
    device = await pushing.device("06-pushed-command")
    cloud = pushing.cloud
    about = cloud.rest.about(device)
    rpc_id = str(uuid.uuid1())
    async with pushing.link.cut("refused"):
        command = wish(device, "open", requestUUID=rpc_id)
        for _ in range(2):  # a message that comes again, and below one of another id
            await cloud.tell_root_chain(command)
        await cloud.tell_root_chain(replace(command, id=str(uuid.uuid4())))
        await about.until_rpc(rpc_id, "QUEUED")

        def pushed() -> list[dict[str, Any]]:
            return cloud.topic_about("pushes_to_edge.pushed", device)

        await cloud.until_stored(lambda _: len(pushed()) == 3)
        events = await pushing.until_events(device, lambda found: told(found, "RPC_CALL"))
        (waiting,) = told(events, "RPC_CALL")
        assert (waiting["method"], waiting["requestUUID"]) == ("open", rpc_id)
    await carried_out(pushing, device, rpc_id)
    assert len(told(await pushing.events(device), "RPC_CALL")) == 1


async def test_requirement_06_what_is_no_command_takes_failure_and_at_no_edge_it_ends(
    pushing: Pair,
) -> None:
    cloud = pushing.cloud
    device = await pushing.device("06-no-command")
    await cloud.tell_root_chain(wish(device, ""))

    def failed() -> list[dict[str, Any]]:
        return cloud.topic_about("pushes_to_edge.failed", device)

    await cloud.until_stored(lambda _: failed())
    assert [one["metadata"]["error"] for one in failed()] == ["the command has no method"]
    alone = await new_device(cloud, "06-at-no-edge")
    rpc_id = str(uuid.uuid1())
    await cloud.tell_root_chain(wish(alone, "open", requestUUID=rpc_id))
    ended = (
        'edgeferry_node_ended_messages_total{chain="pushes_to_edge",node="push",'
        'relation="No related edge"} '
    )

    async def counted() -> bool:
        shown = (await cloud.rest.call("GET", "/metrics")).text
        return any(line.startswith(ended) for line in shown.splitlines())

    await until(counted)
    shown = await cloud.rest.call("GET", f"/api/rpc/persistent/{rpc_id}")
    assert shown.status_code == 404


async def carried_out(pair: Pair, device: Device, rpc_id: str) -> None:
    """By the device behind the Edge."""
    ready = {"edge": {"mqtt": "{}:{}".format(*pair.edge.mqtt)}, "devices": [device]}
    async with MqttDevice(ready) as behind:
        shown = await pair.cloud.rest.about(device).until_rpc(rpc_id, "SUCCESSFUL")
        assert shown["response"] == {"echo": {"by": 3}}
        assert len(behind.commands) == 1
