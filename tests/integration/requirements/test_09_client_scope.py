"""Requirement 9. CLIENT_SCOPE attributes never go from Cloud to Edge."""

from pathlib import Path

import pytest

from tests.integration.requirements.pair import Device, Pair, new_device
from tests.integration.tools.sites import run

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLIENT = "CLIENT_SCOPE"
CHAINS = Path(__file__).parent / "chains"


async def delete_in_the_cloud(pair: Pair, device: Device, keys: str) -> None:
    path = f"/api/plugins/telemetry/DEVICE/{device['id']}/{CLIENT}"
    answer = await pair.cloud.rest.call("DELETE", path, params={"keys": keys})
    assert answer.status_code == 200, answer.text


async def nothing_went_down(pair: Pair, device: Device, barrier: str) -> None:
    """Of CLIENT_SCOPE, until what was changed after it has come down."""
    await pair.cloud.rest.about(device).save_attributes("SERVER_SCOPE", {barrier: 1})
    await pair.edge.until_stored(
        lambda held: held.attributes(device["id"]).get(("SERVER_SCOPE", barrier)) == 1
    )
    for event in pair.cloud.topic_about("edge-events", device):
        for body in (event["attributes"], event["attribute_keys"]):
            assert body is None or body["scope"] != CLIENT, event
    assert CLIENT not in [(event["body"] or {}).get("scope") for event in await pair.events(device)]


async def test_requirement_09_client_attributes_of_the_cloud_stay_there_whatever_is_done(
    pushing: Pair,
) -> None:
    cloud, edge = pushing.cloud, pushing.edge
    device = await new_device(cloud, "09-of-the-cloud")
    await cloud.post(device, "attributes", {"kept": 1, "gone": 2})
    await cloud.rest.about(device).until_attributes(CLIENT, {"kept": 1, "gone": 2})

    # assigned: its attributes go with it, all but these
    path = f"/api/edge/{pushing.edge_id}/device/{device['id']}"
    assert (await cloud.rest.call("POST", path)).status_code == 200
    await nothing_went_down(pushing, device, "assigned")

    # changed by the device and deleted by the API, before a push to edge node
    await cloud.post(device, "attributes", {"kept": 3})
    await cloud.rest.about(device).until_attributes(CLIENT, {"kept": 3})
    await delete_in_the_cloud(pushing, device, "gone")
    await nothing_went_down(pushing, device, "pushed")
    assert [
        message["type"]
        for message in cloud.topic_about("pushes_to_edge.failed", device)
        if message["metadata"]["error"] == "attributes of CLIENT_SCOPE never go to an edge"
    ] == ["ATTRIBUTES_UPDATED", "ATTRIBUTES_UPDATED", "ATTRIBUTES_DELETED"]

    # all sent again
    path = f"/api/edge/sync/{pushing.edge_id}"
    assert (await cloud.rest.call("POST", path)).status_code == 200
    await nothing_went_down(pushing, device, "synchronised")

    assert {scope for scope, _ in edge.stored.attributes(device["id"])} == {"SERVER_SCOPE"}
    assert cloud.stored.attributes(device["id"])[CLIENT, "kept"] == 3


async def test_requirement_09_a_client_attribute_deleted_in_the_cloud_stays_at_the_edge(
    pushing: Pair,
) -> None:
    device = await pushing.device("09-of-the-edge")
    await pushing.edge.post(device, "attributes", {"serial": "x1"})
    await pushing.cloud.rest.about(device).until_attributes(CLIENT, {"serial": "x1"})
    await delete_in_the_cloud(pushing, device, "serial")
    assert pushing.cloud.stored.attributes(device["id"])[CLIENT, "serial"] is None
    await nothing_went_down(pushing, device, "deleted")
    assert pushing.edge.stored.attributes(device["id"])[CLIENT, "serial"] == "x1"


async def test_requirement_09_a_chain_that_pushes_client_attributes_is_refused(
    tmp_path: Path,
) -> None:
    text = (CHAINS / "pushes_to_edge.yaml").read_text()
    file = tmp_path / "pushes_to_edge.yaml"
    file.write_text(text.replace("scope: SHARED_SCOPE", "scope: CLIENT_SCOPE"))
    checked = await run("check", str(file))
    assert checked.returncode == 1
    assert "CLIENT_SCOPE never goes to an edge" in checked.stderr
