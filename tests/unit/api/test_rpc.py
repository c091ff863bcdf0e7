"""Commands over REST."""

import asyncio
import json

import httpx
import pytest

from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.log.codec import decode_message
from tests.unit.api.site import Site

pytestmark = pytest.mark.asyncio
CALL = {"method": "setValue", "params": {"v": 1}}


async def a_device(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/device", json={"name": "pump"})
    id_: str = answer.json()["id"]["id"]
    return id_


async def answered(site: Site, device: str, body: str) -> None:
    """What a device does with the first command that it is given."""
    while True:
        for out in site.changes.left:
            if out.topic == "cloud.device-commands":
                message = decode_message(out.value)
                if message.type == "RPC_CALL_FROM_SERVER_TO_DEVICE":
                    rpc_id = message.metadata["requestUUID"]
                    for status in (RpcStatus.DELIVERED, RpcStatus.SUCCESSFUL):
                        text = body if status is RpcStatus.SUCCESSFUL else ""
                        id_ = f"{rpc_id}-{status}"
                        await site.changes.submit(
                            [RpcChange(id_, "t", device, rpc_id, status, "cloud", 1, text)]
                        )
                    return
        await asyncio.sleep(0)


async def test_a_two_way_command_is_answered_with_what_the_device_said(
    client: httpx.AsyncClient, site: Site
) -> None:
    device = await a_device(client)
    call = asyncio.create_task(client.post(f"/api/rpc/twoway/{device}", json=CALL))
    await answered(site, device, '"done"')
    answer = await call
    assert (answer.status_code, answer.json()) == (200, "done")


async def test_a_persistent_command_is_kept_shown_and_deleted(client: httpx.AsyncClient) -> None:
    device = await a_device(client)
    body = {**CALL, "persistent": True, "expirationTime": 9_000_000_000_000}
    rpc_id = (await client.post(f"/api/rpc/oneway/{device}", json=body)).json()["rpcId"]
    shown = (await client.get(f"/api/rpc/persistent/{rpc_id}")).json()
    assert (shown["status"], shown["request"]["body"]) == ("QUEUED", CALL)
    path = f"/api/rpc/persistent/device/{device}"
    params: dict[str, str | int] = {"pageSize": 5, "page": 0, "rpcStatus": "QUEUED"}
    page = (await client.get(path, params=params)).json()
    assert [row["id"]["id"] for row in page["data"]] == [rpc_id]
    assert (await client.delete(f"/api/rpc/persistent/{rpc_id}")).status_code == 200
    assert (await client.get(f"/api/rpc/persistent/{rpc_id}")).status_code == 404


async def test_a_persistent_command_whose_time_is_over_has_expired(
    client: httpx.AsyncClient, site: Site
) -> None:
    device = await a_device(client)
    body = {**CALL, "persistent": True, "expirationTime": site.clock.now_ms() + 60_000}
    rpc_id = (await client.post(f"/api/rpc/oneway/{device}", json=body)).json()["rpcId"]
    site.clock.advance(61)
    assert (await client.get(f"/api/rpc/persistent/{rpc_id}")).json()["status"] == "EXPIRED"


@pytest.mark.parametrize(
    "body", [{}, {"method": ""}, {"method": 1}, {**CALL, "timeout": "5"}, {**CALL, "timeout": -1}]
)
async def test_a_body_that_is_no_command_is_refused(
    client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    device = await a_device(client)
    answer = await client.post(f"/api/rpc/twoway/{device}", content=json.dumps(body))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 31)


async def test_a_user_who_logged_out_has_no_good_token_left(
    client: httpx.AsyncClient, site: Site
) -> None:
    pair = await site.login()
    assert (await client.post("/api/auth/logout")).status_code == 200
    assert (await client.get("/api/auth/user")).status_code == 401
    refreshed = await client.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]})
    assert refreshed.status_code == 401
