"""Requirement 4. At the Cloud it is handled by the corresponding Cloud-side rule chain."""

import pytest

from tests.integration.requirements.pair import TS, Device, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")
COLD, HOT = ("temperature", TS), ("temperature", TS + 1)


async def publish(pair: Pair, name: str) -> Device:
    device = await pair.device(name)
    for (key, ts), value in ((COLD, 12), (HOT, 31)):
        await pair.edge.post(device, "telemetry", {"ts": ts, "values": {key: value}})
    return device


async def test_requirement_04_the_chain_that_the_clouds_settings_name_handles_it(
    delivered: Pair, automatic: Pair
) -> None:
    all_is_stored = await publish(delivered, "04-all-is-stored")
    hot_is_stored = await publish(automatic, "04-hot-is-stored")
    assert delivered.cloud.root_chain == "cloud_root"
    assert automatic.cloud.root_chain.endswith("saves_attributes.yaml")

    await delivered.cloud.until_stored(
        lambda held: held.history(all_is_stored["id"]) == {COLD: 12, HOT: 31}
    )
    await automatic.cloud.until_stored(lambda held: held.history(hot_is_stored["id"]) == {HOT: 31})
    # it came, and passed that chain's nodes one after the other
    came = automatic.cloud.topic_about("cloud-events-ts", hot_is_stored)
    filtered = automatic.cloud.topic_about("saves_attributes.hot", hot_is_stored)
    saved = automatic.cloud.topic_about("saves_attributes.save", hot_is_stored)
    assert (len(came), len(filtered), len(saved)) == (2, 2, 1)
    assert {message["metadata"]["source"] for message in filtered} == {"edge"}
