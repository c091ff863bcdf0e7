"""Requirement 8. Saving or deleting SERVER_SCOPE or SHARED_SCOPE attributes on the Cloud, by UI,
API or rule chain, enqueues an Edge Event for the assigned Edge without any push to edge node."""

from typing import Any

import pytest

from tests.integration.requirements.pair import Pair, Site, new_device

pytestmark = pytest.mark.asyncio(loop_scope="session")
SCOPES = ("SERVER_SCOPE", "SHARED_SCOPE")


async def has_no_push_to_edge(cloud: Site) -> bool:
    (checked,) = (await cloud.edgeferry_tool("check", cloud.root_chain))["chains"]
    return "push_to_edge" not in {node["type"] for node in checked["nodes"]}


def changes(events: list[dict[str, Any]]) -> list[Any]:
    """Action and scope of what the Edge queue has of attributes, in its order."""
    return [
        (event["action"], event["body"]["scope"])
        for event in events
        if event["action"].startswith("ATTRIBUTES_")
    ]


async def test_requirement_08_attributes_saved_and_deleted_by_the_api_go_to_the_edge_by_themselves(
    automatic: Pair,
) -> None:
    edge, cloud = automatic.edge, automatic.cloud
    assert await has_no_push_to_edge(cloud)
    device = await automatic.device("08-by-the-api")
    unassigned = await new_device(cloud, "08-of-the-cloud-alone")
    about = cloud.rest.about(device)
    async with automatic.link.cut("refused"):
        for scope in SCOPES:
            await about.save_attributes(scope, {"kept": 1, "gone": 2})
            path = f"/api/plugins/telemetry/DEVICE/{device['id']}/{scope}"
            assert (await about.call("DELETE", path, params={"keys": "gone"})).is_success
            await cloud.rest.about(unassigned).save_attributes(scope, {"kept": 1})
        events = await automatic.until_events(device, lambda found: len(changes(found)) == 4)
        assert sorted(changes(events)) == [
            (action, scope)
            for action in ("ATTRIBUTES_DELETED", "ATTRIBUTES_UPDATED")
            for scope in SCOPES
        ]
        assert edge.stored.attributes(device["id"]) == {}

    arrived = {
        (scope, key): value for scope in SCOPES for key, value in (("kept", 1), ("gone", None))
    }
    await edge.until_stored(lambda held: held.attributes(device["id"]) == arrived)
    assert await automatic.events(unassigned) == []
    assert edge.stored.attributes(unassigned["id"]) == {}


async def test_requirement_08_attributes_saved_by_a_rule_chain_go_to_the_edge_by_themselves(
    automatic: Pair,
) -> None:
    assert await has_no_push_to_edge(automatic.cloud)
    device = await automatic.device("08-by-a-rule-chain")
    await automatic.cloud.post(device, "attributes", {"kept": 1})
    arrived = {(scope, "kept"): 1 for scope in SCOPES}
    await automatic.edge.until_stored(lambda held: held.attributes(device["id"]) == arrived)
    events = await automatic.events(device)
    assert sorted(changes(events)) == [("ATTRIBUTES_UPDATED", scope) for scope in SCOPES]


async def test_requirement_08_attributes_deleted_by_a_rule_chain_go_to_the_edge_by_themselves(
    automatic: Pair,
) -> None:
    assert await has_no_push_to_edge(automatic.cloud)
    device = await automatic.device("08-forgetting")
    await automatic.cloud.post(device, "attributes", {"kept": 1, "gone": 2})
    both = {(scope, key): value for scope in SCOPES for key, value in (("kept", 1), ("gone", 2))}
    await automatic.edge.until_stored(lambda held: held.attributes(device["id"]) == both)
    await automatic.cloud.post(device, "telemetry", {"forget": "gone"})
    rest = {**both, **{(scope, "gone"): None for scope in SCOPES}}
    await automatic.edge.until_stored(lambda held: held.attributes(device["id"]) == rest)
    assert automatic.cloud.stored.attributes(device["id"]) == rest
    events = await automatic.events(device)
    assert sorted(changes(events)) == [
        (action, scope)
        for action in ("ATTRIBUTES_DELETED", "ATTRIBUTES_UPDATED")
        for scope in SCOPES
    ]
    deleted = [event["body"] for event in events if event["action"] == "ATTRIBUTES_DELETED"]
    assert [body["keys"] for body in deleted] == [["gone"], ["gone"]]
