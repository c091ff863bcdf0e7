"""Devices, their credentials and their edges over REST."""

import errno
import json
import os
from collections.abc import Sequence

import httpx
import pytest

from edgeferry.core.changes import Change
from edgeferry.core.errors import ChangeRefused, EntityGone, Never
from edgeferry.log.codec import decode_edge_event
from tests.disks import nothing_can_be_opened
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


async def test_a_change_of_what_was_changed_meanwhile_is_told(client: httpx.AsyncClient) -> None:
    device = await made(client)
    assert (await client.post("/api/device", json={**device, "label": "a"})).status_code == 200
    late = await client.post("/api/device", json={**device, "label": "b"})
    assert (late.status_code, late.json()["errorCode"]) == (409, 35)
    unsaid = await client.post("/api/device", json={**device, "label": "", "version": None})
    assert (unsaid.status_code, unsaid.json()["label"]) == (200, None)


async def test_a_device_is_made_with_credentials_of_any_type(client: httpx.AsyncClient) -> None:
    value = json.dumps({"clientId": "c", "userName": "u", "password": "p"})
    credentials = {"credentialsType": "MQTT_BASIC", "credentialsValue": value}
    body = {"device": {"name": "meter", "type": "meters"}, "credentials": credentials}
    answer = await client.post("/api/device-with-credentials", json=body)
    assert (answer.status_code, answer.json()["type"]) == (200, "meters")
    kept = (await client.get(f"/api/device/{id_of(answer.json())}/credentials")).json()
    assert (kept["credentialsType"], json.loads(kept["credentialsValue"])["userName"]) == (
        "MQTT_BASIC",
        "u",
    )
    taken = await client.post(
        "/api/device-with-credentials", json={**body, "device": {"name": "other"}}
    )
    assert taken.status_code == 400
    assert (
        await client.get("/api/tenant/device", params={"deviceName": "other"})
    ).status_code == 404


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"credentialsType": "LWM2M_CREDENTIALS"},
        {"credentialsType": "ACCESS_TOKEN", "credentialsId": "a b"},
        {"credentialsType": "MQTT_BASIC", "credentialsValue": "{}"},
        {"credentialsType": "X509_CERTIFICATE", "credentialsValue": "no certificate"},
    ],
)
async def test_credentials_that_are_none_are_refused(
    client: httpx.AsyncClient, credentials: dict[str, object]
) -> None:
    device = await made(client)
    body = {**credentials, "deviceId": device["id"]}
    answer = await client.post("/api/device/credentials", json=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 31)


async def test_lists_come_in_any_order_and_as_large_as_asked_for(
    client: httpx.AsyncClient,
) -> None:
    for name, type_ in (("b", "x"), ("a", "z"), ("c", "y")):
        await client.post("/api/device", json={"name": name, "type": type_})
        await client.post("/api/edge", json={"name": name, "type": type_})
    for path in ("/api/tenant/devices", "/api/tenant/deviceInfos", "/api/tenant/edgeInfos"):
        for asked, names in (
            ({"sortProperty": "name"}, "abc"),
            ({"sortProperty": "name", "sortOrder": "DESC"}, "cba"),
            ({"sortProperty": "type"}, "bca"),
            ({"sortProperty": "createdTime", "sortOrder": "ASC"}, "bac"),
            ({"type": "z"}, "a"),
            ({"textSearch": "C"}, "c"),
        ):
            params: dict[str, str | int] = {"pageSize": 999_999_999, "page": 0, **asked}
            page = (await client.get(path, params=params)).json()
            assert "".join(row["name"] for row in page["data"]) == names, (path, asked)
            assert page["hasNext"] is False


async def test_an_edge_keeps_the_key_and_secret_that_it_was_made_with(
    client: httpx.AsyncClient,
) -> None:
    body = {"name": "plant", "routingKey": "a-routing-key-1234", "secret": "a-secret-of-plant"}
    made = (await client.post("/api/edge", json=body)).json()
    assert (made["routingKey"], made["secret"]) == (body["routingKey"], body["secret"])
    assert (await client.get(f"/api/edge/{id_of(made)}")).json()["secret"] == ""
    assert (await client.post("/api/edge", json={**made, "label": "l"})).status_code == 200
    for changed in (
        {"secret": "another-secret-of-it"},
        {"routingKey": "another-key-of-it-1"},
        {"name": "other"},
    ):
        again = {**made, "version": None, **changed}
        assert (await client.post("/api/edge", json=again)).status_code == 400
    for refused in ({"secret": "short"}, {"routingKey": "with spaces in it"}, {}):
        other = {"name": "plant" if not refused else "other", **refused}
        answer = await client.post("/api/edge", json=other)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, 31)
        assert "edges.json" not in answer.text


async def test_an_unknown_method_is_told_those_that_a_path_has(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        (f"/api/device/{UNKNOWN}", "DELETE, GET"),
        ("/api/device/types", "GET"),
        (f"/api/edge/{UNKNOWN}/device/{UNKNOWN}", "DELETE, POST"),
    ):
        answer = await client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_an_edge_that_could_not_be_made_or_deleted_is_asked_for_again(
    client: httpx.AsyncClient, site: Site
) -> None:
    body = {"name": "plant", "routingKey": "key-of-sixteen-and-more"}
    site.changes.away = True
    assert (await client.post("/api/edge", json=body)).status_code == 503
    assert (await client.get("/api/edges", params={"pageSize": 9, "page": 0})).json()["data"] == []
    site.changes.away = False
    edge = await client.post("/api/edge", json=body)
    assert (edge.status_code, edge.json()["routingKey"]) == (200, body["routingKey"])
    assert edge.json()["secret"]
    site.changes.away = True
    assert (await client.delete(f"/api/edge/{id_of(edge.json())}")).status_code == 503
    site.changes.away = False
    assert (await client.delete(f"/api/edge/{id_of(edge.json())}")).status_code == 200


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG, errno.EROFS])
async def test_what_a_disk_refuses_is_told_and_asked_for_again(
    client: httpx.AsyncClient, code: int
) -> None:
    with nothing_can_be_opened(code):
        answer = await client.post("/api/edge", json={"name": "plant"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert os.strerror(code) in answer.json()["message"]
    assert (await client.post("/api/edge", json={"name": "plant"})).status_code == 200


async def test_the_devices_of_a_deleted_edge_are_nobodys(
    client: httpx.AsyncClient, site: Site
) -> None:
    edge, other = [
        id_of((await client.post("/api/edge", json={"name": name})).json()) for name in "ab"
    ]
    device = id_of(await made(client))
    for edge_id in (edge, other):
        await client.post(f"/api/edge/{edge_id}/device/{device}")
    assert (await client.delete(f"/api/edge/{edge}")).status_code == 200
    key = ("DEVICE", device)
    assert await site.store.entities.edges_of([key]) == {key: [other]}
    assert (await client.delete(f"/api/edge/{edge}/device/{device}")).status_code == 404
    await site.store.entities.assign(key, edge)
    assert (await client.delete(f"/api/edge/{edge}/device/{device}")).status_code == 200
    assert await site.store.entities.edges_of([key]) == {key: [other]}


@pytest.mark.parametrize(("error", "status"), [(ChangeRefused, 400), (EntityGone, 404)])
async def test_a_change_that_its_owner_did_not_apply_is_no_success(
    client: httpx.AsyncClient,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    error: type[Never],
    status: int,
) -> None:
    async def submit(changes: Sequence[Change]) -> None:
        raise error("why")

    path = f"/api/plugins/telemetry/DEVICE/{id_of(await made(client))}/attributes/SERVER_SCOPE"
    monkeypatch.setattr(site.changes, "submit", submit)
    answer = await client.post(path, json={"a": 1})
    assert (answer.status_code, answer.json()["message"]) == (status, "why")
