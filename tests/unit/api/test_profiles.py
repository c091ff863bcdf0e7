"""Device profiles over REST: the types in use."""

import httpx
import pytest

pytestmark = pytest.mark.asyncio
PAGE = {"pageSize": 10, "page": 0}
UNKNOWN = "5f6e3a00-5b1e-11f0-8000-0242ac120002"


async def made(client: httpx.AsyncClient, name: str, **body: object) -> dict[str, object]:
    answer = await client.post("/api/device", json={"name": name, **body})
    assert answer.status_code == 200, answer.text
    device: dict[str, object] = answer.json()
    return device


async def test_the_default_profile_is_always_there(client: httpx.AsyncClient) -> None:
    default = (await client.get("/api/deviceProfileInfo/default")).json()
    assert default["name"] == "default"
    assert (await made(client, "plain"))["deviceProfileId"] == default["id"]
    id_ = default["id"]["id"]
    assert (await client.get(f"/api/deviceProfile/{id_}")).json()["default"] is True


async def test_a_type_in_use_is_a_profile_with_an_id(client: httpx.AsyncClient) -> None:
    one = await made(client, "one", type="pump")
    two = await made(client, "two", type="pump")
    other = await made(client, "three", type="valve")
    assert one["deviceProfileId"] == two["deviceProfileId"] != other["deviceProfileId"]
    for path in ("/api/deviceProfiles", "/api/deviceProfileInfos"):
        page = (await client.get(path, params=PAGE)).json()
        assert [row["name"] for row in page["data"]] == ["default", "pump", "valve"]
        assert one["deviceProfileId"] in [row["id"] for row in page["data"]]
    found = await client.get("/api/deviceProfileInfos", params={**PAGE, "textSearch": "UM"})
    assert [row["name"] for row in found.json()["data"]] == ["pump"]
    down = await client.get(
        "/api/deviceProfiles", params={**PAGE, "sortProperty": "name", "sortOrder": "DESC"}
    )
    assert [row["name"] for row in down.json()["data"]] == ["valve", "pump", "default"]


async def test_a_profiles_id_goes_before_the_type(client: httpx.AsyncClient) -> None:
    pump = await made(client, "one", type="pump")
    same = await made(client, "two", type="other", deviceProfileId=pump["deviceProfileId"])
    assert same["type"] == "pump"
    unknown = {"entityType": "DEVICE_PROFILE", "id": UNKNOWN}
    refused = await client.post("/api/device", json={"name": "x", "deviceProfileId": unknown})
    assert (refused.status_code, refused.json()["errorCode"]) == (400, 31)
    assert (await client.get(f"/api/deviceProfile/{UNKNOWN}")).status_code == 404


async def test_devices_are_listed_by_profile(client: httpx.AsyncClient) -> None:
    pump = await made(client, "one", type="pump")
    await made(client, "two", type="valve")
    profile = pump["deviceProfileId"]
    assert isinstance(profile, dict)
    for wanted in ({"type": "pump"}, {"deviceProfileId": profile["id"]}):
        page = await client.get("/api/tenant/deviceInfos", params={**PAGE, **wanted})
        assert [row["name"] for row in page.json()["data"]] == ["one"]
    nobody = await client.get(
        "/api/tenant/deviceInfos", params={**PAGE, "deviceProfileId": UNKNOWN}
    )
    assert nobody.json()["totalElements"] == 0
