"""Devices, their credentials and their edges over REST."""

import httpx
import pytest

from edgeferry.log.codec import decode_edge_event
from tests.unit.api.site import Site

pytestmark = pytest.mark.asyncio
UNKNOWN = "5f6e3a00-5b1e-11f0-8000-0242ac120002"


async def made(client: httpx.AsyncClient, name: str = "pump", **query: str) -> dict[str, object]:
    answer = await client.post("/api/device", json={"name": name, "type": "pumps"}, params=query)
    assert answer.status_code == 200, answer.text
    device: dict[str, object] = answer.json()
    return device


def id_of(shown: dict[str, object]) -> str:
    id_ = shown["id"]
    assert isinstance(id_, dict)
    return str(id_["id"])


async def test_a_device_is_made_found_changed_and_deleted(client: httpx.AsyncClient) -> None:
    device = await made(client)
    id_ = id_of(device)
    assert (device["name"], device["type"]) == ("pump", "pumps")
    assert (await client.get(f"/api/device/{id_}")).json() == device
    named = await client.get("/api/tenant/devices", params={"deviceName": "pump"})
    assert named.json() == device
    page = (await client.get("/api/tenant/devices", params={"pageSize": 10, "page": 0})).json()
    assert (page["data"], page["totalElements"], page["hasNext"]) == ([device], 1, False)
    changed = await client.post("/api/device", json={**device, "label": "blue"})
    assert changed.json()["label"] == "blue"
    assert changed.json()["version"] > int(str(device["version"]))
    assert (await client.delete(f"/api/device/{id_}")).status_code == 200
    for path in (f"/api/device/{id_}", f"/api/device/{id_}/credentials"):
        gone = await client.get(path)
        assert (gone.status_code, gone.json()["errorCode"]) == (404, 32)


async def test_a_name_that_is_taken_is_refused(client: httpx.AsyncClient) -> None:
    await made(client)
    again = await client.post("/api/device", json={"name": "pump"})
    assert (again.status_code, again.json()["errorCode"]) == (400, 31)
    assert again.json()["message"] == "Device with such name already exists!"


async def test_credentials_are_made_with_the_device_and_can_be_changed(
    client: httpx.AsyncClient,
) -> None:
    id_ = id_of(await made(client, accessToken="secret-1"))
    first = (await client.get(f"/api/device/{id_}/credentials")).json()
    assert (first["credentialsType"], first["credentialsId"]) == ("ACCESS_TOKEN", "secret-1")
    other = id_of(await made(client, "other"))
    taken = await client.post(
        "/api/device/credentials",
        json={**first, "deviceId": {"entityType": "DEVICE", "id": other}},
    )
    assert taken.status_code == 400
    changed = await client.post("/api/device/credentials", json={**first, "credentialsId": "new"})
    assert changed.json()["credentialsId"] == "new"
    assert changed.json()["version"] > first["version"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"name": ""}', b'{"name": 1}', b'{"name": "a\\u0000"}',
             b'{"name": "a", "id": {"id": "x"}}', b'{"name": "a", "additionalInfo": 1}']
)  # fmt: skip
async def test_a_body_that_is_no_device_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/device", content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 31)


async def test_an_edge_is_made_and_gets_what_is_assigned_to_it(
    client: httpx.AsyncClient, site: Site
) -> None:
    edge = (await client.post("/api/edge", json={"name": "plant", "type": "t"})).json()
    assert edge["secret"]
    edge_id, device_id = id_of(edge), id_of(await made(client))
    shown = (await client.get(f"/api/edge/{edge_id}")).json()
    assert (shown["name"], shown["type"], shown["secret"]) == ("plant", "t", "")
    site.changes.left.clear()
    answer = await client.post(f"/api/edge/{edge_id}/device/{device_id}")
    assert answer.status_code == 200
    events = [
        decode_edge_event(out.value)
        for out in site.changes.left
        if out.topic == "cloud.edge-events"
    ]
    assert [(one.edge_id, one.event.action) for one in events] == [(edge_id, "ASSIGNED_TO_EDGE")]
    params = {"pageSize": 10, "page": 0}
    listed = (await client.get(f"/api/edge/{edge_id}/devices", params=params)).json()
    assert [id_of(one) for one in listed["data"]] == [device_id]
    assert (await client.post(f"/api/edge/sync/{edge_id}")).status_code == 200
    assert (await client.delete(f"/api/edge/{edge_id}/device/{device_id}")).status_code == 200
    listed = (await client.get(f"/api/edge/{edge_id}/devices", params=params)).json()
    assert listed["data"] == []
    assert (await client.delete(f"/api/edge/{edge_id}")).status_code == 200
    assert (await client.get(f"/api/edge/{edge_id}")).status_code == 404


async def test_what_is_not_there_is_told(client: httpx.AsyncClient) -> None:
    for path in (
        f"/api/device/{UNKNOWN}",
        f"/api/edge/{UNKNOWN}",
        f"/api/rpc/persistent/{UNKNOWN}",
    ):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, 32)
