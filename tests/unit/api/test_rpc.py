"""Commands over REST."""

import asyncio
import json

import httpx
import pytest

from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.log.codec import decode_message
from tests.unit.api.site import Site

pytestmark = pytest.mark.asyncio
CALL = {"method": "setValue", "params": {"v": 1}}


async def a_device(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/device", json={"name": "pump"})
    id_: str = answer.json()["id"]["id"]
    return id_


async def until_asked(site: Site) -> str:
    """The id of the first command that a device is given."""
    while True:
        for out in site.changes.left:
            if out.topic == "cloud.device-commands":
                message = decode_message(out.value)
                if message.type == "RPC_CALL_FROM_SERVER_TO_DEVICE":
                    return message.metadata["requestUUID"]
        await asyncio.sleep(0)


async def answered(site: Site, device: str, body: str) -> None:
    """What a device does with the first command that it is given."""
    rpc_id = await until_asked(site)
    for status in (RpcStatus.DELIVERED, RpcStatus.SUCCESSFUL):
        text = body if status is RpcStatus.SUCCESSFUL else ""
        id_ = f"{rpc_id}-{status}"
        await site.changes.submit([RpcChange(id_, "t", device, rpc_id, status, "cloud", 1, text)])


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


@pytest.mark.parametrize(("prefix", "status"), [("/api/rpc", 504), ("/api/plugins/rpc", 409)])
async def test_a_device_that_is_not_connected_is_told(
    client: httpx.AsyncClient, site: Site, prefix: str, status: int
) -> None:
    device = await a_device(client)
    call = asyncio.create_task(client.post(f"{prefix}/twoway/{device}", json=CALL))
    await until_asked(site)
    site.clock.advance(11)
    answer = await call
    assert (answer.status_code, answer.json()["status"]) == (status, status)


@pytest.mark.parametrize(("prefix", "status"), [("/api/rpc", 504), ("/api/plugins/rpc", 408)])
async def test_a_device_that_does_not_answer_in_time_is_told(
    client: httpx.AsyncClient, site: Site, prefix: str, status: int
) -> None:
    device = await a_device(client)
    call = asyncio.create_task(client.post(f"{prefix}/twoway/{device}", json=CALL))
    rpc_id = await until_asked(site)
    sent = RpcChange("sent", DEFAULT_TENANT_ID, device, rpc_id, RpcStatus.SENT, "cloud", 1)
    await site.changes.submit([sent])
    site.clock.advance(11)
    assert (await call).status_code == status


async def test_commands_are_listed_from_either_end(client: httpx.AsyncClient, site: Site) -> None:
    device = await a_device(client)
    body = {**CALL, "persistent": True, "expirationTime": 9_000_000_000_000}
    made = []
    for _ in range(5):
        site.clock.advance(1)
        made.append((await client.post(f"/api/rpc/oneway/{device}", json=body)).json()["rpcId"])
    for order, wanted in (("ASC", made), ("DESC", made[::-1])):
        for number, part in ((0, wanted[:2]), (2, wanted[4:]), (3, [])):
            page = await client.get(
                f"/api/rpc/persistent/device/{device}",
                params={"pageSize": 2, "page": number, "sortOrder": order},
            )
            assert [row["id"]["id"] for row in page.json()["data"]] == part
            assert page.json()["totalElements"] == 5
