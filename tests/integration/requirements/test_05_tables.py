"""Requirement 5. Where it is stored depends on that chain: with nodes that store latest and time
series, both ts_kv_cf and ts_kv_latest_cf are written; with time series only, ts_kv_cf alone is
written and ts_kv_latest_cf stays untouched."""

import pytest

from tests.integration.requirements.pair import TS, Device, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def send(pair: Pair, device: Device, ts: int, **values: object) -> None:
    """From the Edge, until it is in ``ts_kv_cf`` of the Cloud."""
    await pair.edge.post(device, "telemetry", {"ts": ts, "values": values})
    written = {(key, ts): value for key, value in values.items()}
    await pair.cloud.until_stored(
        lambda held: written.items() <= held.history(device["id"]).items()
    )


async def test_requirement_05_ts_kv_latest_cf_is_written_or_stays_untouched_as_the_chain_says(
    delivered: Pair,
) -> None:
    device = await delivered.device("05-latest")
    await send(delivered, device, TS, temperature=20)
    latest = {("temperature", TS): 20}
    await delivered.cloud.until_stored(lambda held: held.latest(device["id"]) == latest)

    async with delivered.cloud.rooted_in("cloud_history_only"):
        await send(delivered, device, TS + 1, temperature=21, humidity=40)
        await send(delivered, device, TS + 2, temperature=22)  # the one before is done, then
        assert delivered.cloud.stored.latest(device["id"]) == latest
    assert delivered.cloud.stored.latest(device["id"]) == latest
    assert delivered.cloud.stored.history(device["id"]) == {
        ("temperature", TS): 20,
        ("temperature", TS + 1): 21,
        ("humidity", TS + 1): 40,
        ("temperature", TS + 2): 22,
    }

    await send(delivered, device, TS + 3, temperature=23)
    latest = {("temperature", TS + 3): 23}
    await delivered.cloud.until_stored(lambda held: held.latest(device["id"]) == latest)
