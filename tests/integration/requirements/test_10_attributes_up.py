"""Requirement 10. Attribute changes made at the Edge are pushed up automatically."""

from typing import Any

import orjson
import pytest

from tests.integration.requirements.pair import Device, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def until_up(pair: Pair, device: Device, wanted: dict[tuple[str, str], Any]) -> None:
    """The same at the Edge and, by itself, in the Cloud."""
    for site in (pair.edge, pair.cloud):
        await site.until_stored(lambda held: held.attributes(device["id"]) == wanted)


async def delete(pair: Pair, device: Device, scope: str, keys: str) -> None:
    path = f"/api/plugins/telemetry/DEVICE/{device['id']}/{scope}"
    answer = await pair.edge.rest.call("DELETE", path, params={"keys": keys})
    assert answer.status_code == 200, answer.text


async def test_requirement_10_what_the_api_changes_at_the_edge_goes_up_by_itself(
    pushing: Pair,
) -> None:
    device = await pushing.device("10-by-the-api")
    about = pushing.edge.rest.about(device)
    for scope in ("SERVER_SCOPE", "SHARED_SCOPE"):
        await about.save_attributes(scope, {"kept": 1, "gone": 2})
        await about.save_attributes(scope, {"kept": 3})
        await delete(pushing, device, scope, "gone")
    wanted = {
        (scope, key): value
        for scope in ("SERVER_SCOPE", "SHARED_SCOPE")
        for key, value in (("kept", 3), ("gone", None))
    }
    await until_up(pushing, device, wanted)


async def test_requirement_10_what_a_device_and_a_rule_node_change_at_the_edge_goes_up_by_itself(
    pushing: Pair,
) -> None:
    device = await pushing.device("10-by-a-device")
    async with pushing.edge.connected(device) as client:
        body = orjson.dumps({"serial": "x1", "gone": 2})
        await client.publish("v1/devices/me/attributes", body, qos=1)
    # the chain saves them as the device's own and, by another node, as the server's
    wanted: dict[tuple[str, str], Any] = {
        (scope, key): value
        for scope in ("CLIENT_SCOPE", "SERVER_SCOPE")
        for key, value in (("serial", "x1"), ("gone", 2))
    }
    await until_up(pushing, device, wanted)

    await delete(pushing, device, "CLIENT_SCOPE", "gone")
    await delete(pushing, device, "SERVER_SCOPE", "gone")
    for scope in ("CLIENT_SCOPE", "SERVER_SCOPE"):
        wanted[scope, "gone"] = None
    await until_up(pushing, device, wanted)


async def test_requirement_10_changes_made_while_the_link_is_down_go_up_when_it_is_back(
    pushing: Pair,
) -> None:
    device = await pushing.device("10-link-down")
    async with pushing.link.cut("refused"):
        await pushing.edge.rest.about(device).save_attributes("SERVER_SCOPE", {"n": 1})
        await pushing.edge.until_stored(
            lambda _: [
                event["attributes"]
                for event in pushing.edge.topic_about("cloud-events", device)
                if event["action"] == "ATTRIBUTES_UPDATED"
            ]
        )
        assert pushing.cloud.stored.attributes(device["id"]) == {}
    await until_up(pushing, device, {("SERVER_SCOPE", "n"): 1})
