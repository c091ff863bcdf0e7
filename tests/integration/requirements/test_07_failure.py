"""Requirement 7. The message takes the Failure relation when the Edge Event cannot be saved, when
the originator type is not supported, and when the message type is not supported."""

import asyncio
import itertools
import string
import uuid
from typing import Any

import orjson
import pytest

from edgeferry.log.limits import MAX_WHOLE_BYTES
from tests.integration.log.topics_of_tests import limit_topic
from tests.integration.requirements.pair import TS, Device, Pair, Site, new_device
from tests.integration.requirements.stored import OnServers

pytestmark = pytest.mark.asyncio(loop_scope="session")
KEYS = 62_000
"""With numbers like 0.5 their event is above the largest record of a log, the message below."""


async def failed(cloud: Site, entity_id: str) -> dict[str, Any]:
    """The message that came to the node behind Failure, and did not come behind Success."""

    def messages(node: str) -> list[dict[str, Any]]:
        return cloud.topic_about(f"pushes_to_edge.{node}", {"id": entity_id})

    await cloud.until_stored(lambda _: messages("failed"))
    (message,) = messages("failed")
    assert message["id"] not in [pushed["id"] for pushed in messages("pushed")]
    said = f"did not go to the Edge: {message['metadata']['error']}"
    log = cloud.settings.with_suffix(".log")
    await cloud.until_stored(lambda _: said in log.read_text())
    return message


async def test_requirement_07_a_message_of_an_unsupported_originator_type_takes_failure(
    pushing: Pair,
) -> None:
    chain_id = str(uuid.uuid1())
    path = f"/api/plugins/telemetry/RULE_CHAIN/{chain_id}/timeseries/ANY"
    assert (await pushing.cloud.rest.call("POST", path, json={"runs": 1})).is_success
    message = await failed(pushing.cloud, chain_id)
    assert message["metadata"]["error"] == "Unsupported originator type RULE_CHAIN"


async def test_requirement_07_a_message_of_an_unsupported_type_takes_failure(
    pushing: Pair,
) -> None:
    device = await new_device(pushing.cloud, "07-made-in-the-cloud")
    message = await failed(pushing.cloud, device["id"])
    assert message["metadata"]["error"] == "Unsupported msg type ENTITY_CREATED"


async def test_requirement_07_a_message_whose_event_cannot_be_saved_takes_failure(
    pushing: Pair,
) -> None:
    device = await pushing.device("07-too-much")
    names = itertools.product(string.ascii_letters + string.digits, repeat=3)
    values = {"".join(name): 0.5 for name in itertools.islice(names, KEYS)}
    await pushing.cloud.post(device, "telemetry", {"ts": TS, "values": values})
    message = await failed(pushing.cloud, device["id"])
    assert orjson.loads(message["data"]) == values
    assert "above the limit of 1000000" in message["metadata"]["error"]

    await goes_its_way(pushing, device)


@pytest.mark.servers  # SQLite's log has one limit for all topics: that of the test before
async def test_requirement_07_a_message_whose_event_the_log_itself_refuses_takes_failure(
    pushing: Pair,
) -> None:
    cloud, stored = pushing.cloud, pushing.cloud.stored
    assert isinstance(stored, OnServers)
    topic = f"{cloud.name}.edge-events-ts"
    device = await pushing.device("07-refused")
    await asyncio.to_thread(limit_topic, stored.kafka, topic, 5_000)
    try:
        values = {"long": "x" * 6_000}
        await cloud.post(device, "telemetry", {"ts": TS, "values": values})
        message = await failed(cloud, device["id"])
        assert orjson.loads(message["data"]) == values
        assert topic in message["metadata"]["error"]
        await goes_its_way(pushing, device)
    finally:
        await asyncio.to_thread(limit_topic, stored.kafka, topic, MAX_WHOLE_BYTES)


async def goes_its_way(pushing: Pair, device: Device) -> None:
    """What comes after it."""
    await pushing.cloud.post(device, "telemetry", {"ts": TS, "values": {"little": 1}})
    little = {("little", TS): 1}
    await pushing.edge.until_stored(lambda held: held.history(device["id"]) == little)
