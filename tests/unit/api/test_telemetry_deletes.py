"""Time series deleted over REST."""

from typing import Any

import httpx
import pytest

from edgeferry.core.node import TimeseriesWrite
from edgeferry.log.codec import decode_message
from tests.unit.api.site import Site
from tests.unit.api.test_telemetry import DEVICE, PATH, T, ok, save


async def delete(client: httpx.AsyncClient, status: int = 200, **params: Any) -> str:
    answer = await client.delete(f"{PATH}/timeseries/delete", params=params)
    assert answer.status_code == status, answer.text
    return answer.text


async def left(client: httpx.AsyncClient, key: str = "a") -> list[int]:
    asked = {"keys": key, "startTs": 0, "endTs": 2 * T, "orderBy": "ASC"}
    answer = await ok(client, "/values/timeseries", **asked, useStrictDataTypes=True)
    return [point["value"] for point in answer.get(key, [])]


async def latest(client: httpx.AsyncClient) -> dict[str, int]:
    answer = await ok(client, "/values/timeseries", useStrictDataTypes=True)
    return {key: points[0]["value"] for key, points in answer.items()}


@pytest.mark.asyncio
async def test_a_range_of_some_keys_goes(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, *((T + i, {"a": i, "b": i, "c": i}) for i in range(5)))
    assert await delete(client, keys="a,b", startTs=T + 1, endTs=T + 3) == ""
    assert [await left(client, key) for key in "abc"] == [[0, 3, 4], [0, 3, 4], [0, 1, 2, 3, 4]]
    assert await latest(client) == {"a": 4, "b": 4, "c": 4}


@pytest.mark.asyncio
async def test_the_latest_value_goes_with_its_range_unless_told(
    site: Site, client: httpx.AsyncClient
) -> None:
    await save(site, *((T + i, {"a": i, "b": i, "c": i}) for i in range(5)))
    asked = {"startTs": T + 2, "endTs": T + 9}
    await delete(client, keys="a", **asked)
    await delete(client, keys="b", **asked, deleteLatest=False)
    await delete(client, keys="c", **asked, rewriteLatestIfDeleted=True)
    assert await latest(client) == {"b": 4, "c": 0}
    assert await ok(client, "/keys/timeseries") == ["b", "c"]


@pytest.mark.asyncio
async def test_all_data_of_a_key_goes_up_to_now(site: Site, client: httpx.AsyncClient) -> None:
    now = site.clock.now_ms()
    await save(site, (T, {"a": 1, "b": 1}), (now - 1, {"a": 2}), (now, {"a": 3}))
    await delete(client, keys="a", deleteAllDataForKeys=True, startTs=T + 1, endTs=T + 2)
    assert await left(client) == [3]
    assert await latest(client) == {"b": 1}


@pytest.mark.asyncio
async def test_what_a_clock_ahead_wrote_goes_as_well(site: Site, client: httpx.AsyncClient) -> None:
    ahead = (site.clock.now_ms() + 60_000) * 1000
    await site.store.timeseries.save([TimeseriesWrite("DEVICE", DEVICE, T, ahead, {"a": 1})])
    await delete(client, keys="a", deleteAllDataForKeys=True)
    assert await left(client) == []
    assert await latest(client) == {}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"startTs": 1, "endTs": 2}, "keys"),
        ({"keys": "", "startTs": 1, "endTs": 2}, "keys"),
        ({"keys": ",,", "startTs": 1, "endTs": 2}, "keys"),
        ({"keys": "a"}, "start and end timestamp values shouldn't be empty"),
        ({"keys": "a", "startTs": 1}, "shouldn't be empty"),
        ({"keys": "a", "startTs": 3, "endTs": 2}, "after"),
        ({"keys": "a", "startTs": -3, "endTs": 2}, "startTs"),
        ({"keys": "a", "deleteAllDataForKeys": "perhaps"}, "deleteAllDataForKeys"),
        ({"keys": ",".join(f"k{i}" for i in range(300)), "startTs": 1, "endTs": 2}, "256"),
    ],
)
@pytest.mark.asyncio
async def test_a_delete_that_is_not_clear_deletes_nothing(
    site: Site, client: httpx.AsyncClient, params: dict[str, Any], said: str
) -> None:
    await save(site, (1, {"a": 1}))
    assert said in await delete(client, 400, **params)
    assert await left(client) == [1]


@pytest.mark.asyncio
async def test_an_id_that_no_entity_can_have_is_refused(client: httpx.AsyncClient) -> None:
    random_id = "5f0c5a3c-1111-4222-8333-444455556666"
    answer = await client.delete(
        f"/api/plugins/telemetry/DEVICE/{random_id}/timeseries/delete",
        params={"keys": "a", "deleteAllDataForKeys": True},
    )
    assert answer.status_code == 400
    assert "version-1 UUID" in answer.text


@pytest.mark.asyncio
async def test_nobody_deletes_without_a_token(site: Site) -> None:
    await save(site, (T, {"a": 1}))
    async with site.client() as stranger:
        answer = await stranger.delete(f"{PATH}/timeseries/delete", params={"keys": "a"})
    assert answer.status_code == 401


@pytest.mark.asyncio
async def test_the_root_chain_is_told_what_went(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, (T, {"a": 1}))
    await delete(client, keys="a,b", startTs=T, endTs=T + 1)
    (told,) = [out for out in site.changes.left if out.topic == "cloud.root"]
    message = decode_message(told.value)
    assert (message.type, message.entity_id, told.key) == (
        "TIMESERIES_DELETED",
        DEVICE,
        DEVICE.encode(),
    )
    assert message.json == message.json | {
        "timeseries": ["a", "b"],
        "startTs": T,
        "endTs": T + 1,
    }


@pytest.mark.asyncio
async def test_keys_may_be_named_one_by_one(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, (T, {"a": 1, "b": 2, "c": 3}))
    found = await client.get(f"{PATH}/values/timeseries", params={"key": ["a", "b"], "keys": "b"})
    assert sorted(found.json()) == ["a", "b"]
    await delete(client, key=["a", "c"], deleteAllDataForKeys=True)
    assert await latest(client) == {"b": 2}
