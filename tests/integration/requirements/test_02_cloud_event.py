"""Requirement 2. The node first stores it at the Edge as a Cloud Event, in a local database or
in Kafka."""

import pytest

from tests.integration.requirements.pair import TS, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_requirement_02_the_cloud_event_stands_at_the_edge_before_the_cloud_has_it(
    delivered: Pair,
) -> None:
    edge, cloud = delivered.edge, delivered.cloud
    device = await delivered.device("02-stored-first")
    async with delivered.link.cut("refused"):
        await edge.post(device, "telemetry", {"ts": TS, "values": {"temperature": 21.5}})
        await edge.until_stored(lambda _: edge.topic_about("cloud-events-ts", device))

        (event,) = edge.topic_about("cloud-events-ts", device)
        assert (event["action"], event["entity_type"]) == ("TIMESERIES_UPDATED", "DEVICE")
        (point,) = event["timeseries"]["points"]
        (entry,) = point["values"]
        assert (point["ts"], entry["key"], entry["dbl_v"]) == (TS, "temperature", 21.5)
        lanes = {lane["lane"]: lane for lane in (await edge.edgeferry("outbox"))["lanes"]}
        assert lanes["cloud-events-ts"]["depth"] == 1
        assert cloud.topic_about("cloud-events-ts", device) == []
        assert cloud.stored.history(device["id"]) == {}

    held = {("temperature", TS): 21.5}
    await cloud.until_stored(lambda stored: stored.history(device["id"]) == held)
    assert cloud.topic_about("cloud-events-ts", device) == [event]
