"""Requirement 1. It is rule-based, never automatic: telemetry goes up only when it passes a
push to cloud node of an Edge rule chain."""

import pytest

from tests.integration.requirements.pair import TS, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")
SENT = {"ts": TS, "values": {"temperature": 21.5}}
HELD = {("temperature", TS): 21.5}


async def test_requirement_01_telemetry_goes_up_only_through_a_push_to_cloud_node(
    delivered: Pair, pushing: Pair
) -> None:
    passing = await delivered.device("01-passing")
    staying = await pushing.device("01-staying")
    await delivered.edge.post(passing, "telemetry", SENT)
    await pushing.edge.post(staying, "telemetry", SENT)

    await delivered.cloud.until_stored(lambda held: held.history(passing["id"]) == HELD)

    # whatever is sent by itself after the telemetry has come; the telemetry has not
    await pushing.edge.until_stored(lambda held: held.history(staying["id"]) == HELD)
    await pushing.edge.rest.about(staying).save_attributes("SERVER_SCOPE", {"after": 1})
    await pushing.cloud.rest.about(staying).until_attributes("SERVER_SCOPE", {"after": 1})
    assert pushing.edge.topic_about("cloud-events-ts", staying) == []
    assert pushing.cloud.topic_about("cloud-events-ts", staying) == []
    assert pushing.cloud.stored.history(staying["id"]) == {}
