"""Saving attributes and time series over REST, and deleting attributes."""

from typing import Any

import httpx
import pytest

from edgeferry.log.codec import decode_message
from tests.unit.api.site import Site

pytestmark = pytest.mark.asyncio
PREFIX = "/api/plugins/telemetry"


async def a_device(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/device", json={"name": "pump"})
    id_: str = answer.json()["id"]["id"]
    return id_


async def attributes(client: httpx.AsyncClient, id_: str, scope: str) -> dict[str, Any]:
    answer = await client.get(f"{PREFIX}/DEVICE/{id_}/values/attributes/{scope}")
    return {row["key"]: row["value"] for row in answer.json()}


@pytest.mark.parametrize("path", ["DEVICE/{}/attributes/SHARED_SCOPE", "DEVICE/{}/SHARED_SCOPE",
                                  "{}/SHARED_SCOPE"])  # fmt: skip
async def test_saved_attributes_are_read_back_at_once(client: httpx.AsyncClient, path: str) -> None:
    id_ = await a_device(client)
    saved = {"limit": 5, "on": True, "note": "x", "plan": {"a": [1]}}
    answer = await client.post(f"{PREFIX}/{path.format(id_)}", json=saved)
    assert (answer.status_code, answer.content) == (200, b"")
    assert await attributes(client, id_, "SHARED_SCOPE") == saved


async def test_deleted_attributes_are_gone(client: httpx.AsyncClient) -> None:
    id_ = await a_device(client)
    at = f"{PREFIX}/DEVICE/{id_}/SERVER_SCOPE"
    await client.post(at, json={"a": 1, "b": 2})
    answer = await client.delete(at, params={"keys": "a,unknown"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert await attributes(client, id_, "SERVER_SCOPE") == {"b": 2}


async def test_what_cannot_be_saved_is_told_as_plain_text(client: httpx.AsyncClient) -> None:
    id_ = await a_device(client)
    for scope, body in (
        ("CLIENT_SCOPE", b'{"a": 1}'),
        ("SERVER_SCOPE", b""),
        ("SERVER_SCOPE", b"{"),
        ("SERVER_SCOPE", b"[]"),
        ("SERVER_SCOPE", b"{}"),
        ("SERVER_SCOPE", b'{" ": 1}'),
        ("OTHER", b'{"a": 1}'),
    ):
        answer = await client.post(f"{PREFIX}/DEVICE/{id_}/{scope}", content=body)
        assert answer.status_code == 400, (scope, body)
        assert answer.headers["content-type"].startswith("text/plain")
    assert await attributes(client, id_, "SERVER_SCOPE") == {}


async def test_an_unknown_device_is_404(client: httpx.AsyncClient) -> None:
    at = f"{PREFIX}/DEVICE/5f6e3a00-5b1e-11f0-8000-0242ac120002/SERVER_SCOPE"
    answer = await client.post(at, json={"a": 1})
    assert (answer.status_code, answer.json()["errorCode"]) == (404, 32)


async def test_a_log_that_is_away_is_told_with_a_time_to_try_again(
    client: httpx.AsyncClient, site: Site
) -> None:
    id_ = await a_device(client)
    site.changes.away = True
    answer = await client.post(f"{PREFIX}/DEVICE/{id_}/SERVER_SCOPE", json={"a": 1})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


async def test_saved_telemetry_is_stored_and_told_to_the_chain(
    client: httpx.AsyncClient, site: Site
) -> None:
    id_ = await a_device(client)
    site.changes.left.clear()
    body = {"ts": 1_700_000_000_000, "values": {"t": 21.5}}
    answer = await client.post(f"{PREFIX}/DEVICE/{id_}/timeseries/ANY", json=body)
    assert answer.status_code == 200
    read = await client.get(f"{PREFIX}/DEVICE/{id_}/values/timeseries", params={"keys": "t"})
    assert read.json() == {"t": [{"ts": 1_700_000_000_000, "value": "21.5"}]}
    (out,) = site.changes.left
    message = decode_message(out.value)
    assert (out.topic, message.type) == ("cloud.root", "TIMESERIES_UPDATED")
    assert message.json == {"timeseries": [body]}
