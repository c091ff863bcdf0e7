"""Requirement 6. A push to edge node of a Cloud chain converts a message to an Edge Event and
stores it in the Cloud's Edge queue for asynchronous delivery to the target Edge."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.requirements.pair import TS, Device, Pair
from tests.integration.tools.down import MqttDevice

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


async def carried_out(pair: Pair, device: Device, rpc_id: str) -> None:
    """By the device behind the Edge."""
    ready = {"edge": {"mqtt": "{}:{}".format(*pair.edge.mqtt)}, "devices": [device]}
    async with MqttDevice(ready) as behind:
        shown = await pair.cloud.rest.about(device).until_rpc(rpc_id, "SUCCESSFUL")
        assert shown["response"] == {"echo": {"by": 3}}
        assert len(behind.commands) == 1
