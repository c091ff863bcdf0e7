"""Requirement 3. The event is pushed to the Cloud asynchronously; the device never waits for the
Cloud."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from tests.integration.requirements.pair import TS, Device, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")
PROMPT_SECONDS = 10.0
COUNT = 50


@asynccontextmanager
async def cloud_away(pair: Pair) -> AsyncIterator[None]:
    await pair.cloud.stop()
    try:
        yield
    finally:
        await pair.cloud.start()


async def publish(pair: Pair, device: Device, begin: int) -> None:
    """Each is acknowledged (PUBACK) before the next one is sent."""
    async with asyncio.timeout(PROMPT_SECONDS), pair.edge.connected(device) as client:
        for number in range(begin, begin + COUNT):
            body = orjson.dumps({"ts": TS + number, "values": {"n": number}})
            await client.publish("v1/devices/me/telemetry", body, qos=1)


async def test_requirement_03_a_device_has_its_acknowledgement_while_the_cloud_is_away(
    delivered: Pair,
) -> None:
    device = await delivered.device("03-never-waits")
    async with cloud_away(delivered):
        await publish(delivered, device, 0)
    async with delivered.link.cut("silent"):  # and while nothing tells that it is away
        await publish(delivered, device, COUNT)

    everything = {("n", TS + number): number for number in range(2 * COUNT)}
    await delivered.cloud.until_stored(lambda held: held.history(device["id"]) == everything)
