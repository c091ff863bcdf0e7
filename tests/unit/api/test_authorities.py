"""What each kind of user may do over REST, and that nobody sees another tenant's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from edgeferry.api.accounts import ACCOUNTS_FILE, Account, Accounts
from edgeferry.api.auth import hash_of_key
from edgeferry.core.ids import DEFAULT_TENANT_ID, new_entity_id
from edgeferry.core.kv import Scope
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.store import Entity
from tests.unit.api.site import Site

pytestmark = pytest.mark.asyncio
OTHER_TENANT = "5f6e3a00-5b1e-11f0-8000-0242ac120002"
KEY = "a-key-of-the-test"
T = 1_699_999_000_000


@asynccontextmanager
async def user(
    site: Site, authority: str, tenant_id: str = DEFAULT_TENANT_ID, header: str = "X-Authorization"
) -> AsyncIterator[httpx.AsyncClient]:
    """With an API key."""
    account = Account(
        id=new_entity_id(),
        tenant_id=tenant_id,
        username=authority.lower(),
        password_hash="",
        authority=authority,
        created_time=T,
        key_hash=hash_of_key(KEY),
    )
    Accounts(site.data / ACCOUNTS_FILE).add(account)
    async with site.client({header: f"ApiKey {KEY}"}) as client:
        yield client


def assert_forbidden(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["errorCode"]) == (403, 20), answer.text


async def a_device(client: httpx.AsyncClient) -> str:
    answer = await client.post("/api/device", json={"name": "pump", "type": "pumps"})
    id_: str = answer.json()["id"]["id"]
    return id_


@pytest.mark.parametrize("header", ["X-Authorization", "Authorization"])
async def test_a_key_opens_in_either_header_until_it_is_taken_away(site: Site, header: str) -> None:
    async with user(site, "CUSTOMER_USER", header=header) as reader:
        shown = (await reader.get("/api/auth/user")).json()
        assert (shown["email"], shown["authority"]) == ("customer_user", "CUSTOMER_USER")
        accounts = Accounts(site.data / ACCOUNTS_FILE)
        account = accounts.find("customer_user")
        assert account is not None
        accounts.set_key(account, "")
        assert (await reader.get("/api/auth/user")).status_code == 401


@pytest.mark.parametrize("key", ["", "another", KEY + "x", hash_of_key(KEY)])
async def test_a_key_that_nobody_has_is_refused(site: Site, key: str) -> None:
    async with user(site, "TENANT_ADMIN"), site.client({"X-Authorization": f"ApiKey {key}"}) as no:
        assert (await no.get("/api/auth/user")).status_code == 401


async def test_a_customer_reads_and_changes_nothing(site: Site, client: httpx.AsyncClient) -> None:
    device = await a_device(client)
    edge = (await client.post("/api/edge", json={"name": "plant"})).json()["id"]["id"]
    telemetry = f"/api/plugins/telemetry/DEVICE/{device}"
    async with user(site, "CUSTOMER_USER") as reader:
        for path in (
            f"/api/device/{device}",
            f"/api/device/info/{device}",
            "/api/tenant/devices?pageSize=1&page=0",
            f"{telemetry}/values/timeseries",
            f"{telemetry}/values/attributes",
            f"/api/edge/{edge}",
            "/api/deviceProfiles?pageSize=1&page=0",
        ):
            assert (await reader.get(path)).status_code == 200, path
        for method, path in (
            ("POST", "/api/device"),
            ("DELETE", f"/api/device/{device}"),
            ("POST", "/api/device/credentials"),
            ("GET", f"/api/device/{device}/credentials"),
            ("POST", f"{telemetry}/timeseries/ANY"),
            ("POST", f"{telemetry}/SERVER_SCOPE"),
            ("DELETE", f"{telemetry}/timeseries/delete?keys=a&deleteAllDataForKeys=true"),
            ("POST", f"/api/rpc/oneway/{device}"),
            ("POST", f"/api/plugins/rpc/twoway/{device}"),
            ("POST", "/api/edge"),
            ("DELETE", f"/api/edge/{edge}"),
            ("POST", f"/api/edge/sync/{edge}"),
            ("GET", f"/api/edge/{edge}/events?pageSize=1&page=0"),
            ("GET", "/api/edge/events?pageSize=1&page=0"),
            ("POST", f"/api/edge/{edge}/device/{device}"),
        ):
            assert_forbidden(await reader.request(method, path, json={"name": "x"}))
        assert (await reader.post("/api/auth/logout")).status_code == 200
    assert (await client.get(f"/api/device/{device}")).status_code == 200


async def test_an_administrator_of_the_installation_has_nothing_of_a_tenant(
    site: Site, client: httpx.AsyncClient
) -> None:
    device = await a_device(client)
    async with user(site, "SYS_ADMIN", tenant_id=OTHER_TENANT) as admin:
        assert (await admin.get("/openapi.json")).status_code == 200
        assert (await admin.get("/api/auth/user")).json()["authority"] == "SYS_ADMIN"
        assert_forbidden(await admin.get(f"/api/device/{device}"))
        assert_forbidden(await admin.post("/api/device", json={"name": "x"}))


@pytest.mark.parametrize("authority", ["TENANT_ADMIN", "CUSTOMER_USER", "SOMETHING"])
async def test_a_user_of_another_tenant_has_nothing_here(
    site: Site, client: httpx.AsyncClient, authority: str
) -> None:
    device = await a_device(client)
    async with user(site, authority, tenant_id=OTHER_TENANT) as stranger:
        for path in (f"/api/device/{device}", "/api/edges?pageSize=1&page=0", "/api/auth/user"):
            assert_forbidden(await stranger.get(path))


async def test_what_is_another_tenants_is_not_found(site: Site, client: httpx.AsyncClient) -> None:
    id_ = new_entity_id()
    theirs = Entity("DEVICE", id_, OTHER_TENANT, "theirs", "secret-type", T, 1, "cloud")
    await site.store.entities.save_entities([theirs])
    await site.store.timeseries.save([TimeseriesWrite("DEVICE", id_, T, T * 1000, {"a": 1})])
    await site.store.attributes.save([AttributesWrite("DEVICE", id_, Scope.SERVER, {"s": 1}, T, 1)])
    edge = (await client.post("/api/edge", json={"name": "plant"})).json()["id"]["id"]
    telemetry = f"/api/plugins/telemetry/DEVICE/{id_}"
    for method, path in (
        ("GET", f"/api/device/{id_}"),
        ("DELETE", f"/api/device/{id_}"),
        ("GET", f"/api/device/{id_}/credentials"),
        ("GET", "/api/tenant/devices?deviceName=theirs"),
        ("GET", f"{telemetry}/keys/timeseries"),
        ("GET", f"{telemetry}/keys/attributes"),
        ("GET", f"{telemetry}/values/timeseries"),
        ("GET", f"{telemetry}/values/timeseries?keys=a&startTs=0&endTs={T + 1}"),
        ("GET", f"{telemetry}/values/attributes/SERVER_SCOPE"),
        ("POST", f"{telemetry}/SERVER_SCOPE"),
        ("DELETE", f"{telemetry}/SERVER_SCOPE?keys=s"),
        ("POST", f"{telemetry}/timeseries/ANY"),
        ("DELETE", f"{telemetry}/timeseries/delete?keys=a&deleteAllDataForKeys=true"),
        ("POST", f"/api/rpc/oneway/{id_}"),
        ("GET", f"/api/rpc/persistent/device/{id_}?pageSize=1&page=0"),
        ("POST", f"/api/edge/{edge}/device/{id_}"),
        ("GET", f"/api/plugins/telemetry/TENANT/{OTHER_TENANT}/values/attributes"),
    ):
        answer = await client.request(method, path, json={"method": "m", "a": 2})
        assert (answer.status_code, answer.json()["errorCode"]) == (404, 32), path
    for path in ("/api/tenant/devices", "/api/tenant/deviceInfos", "/api/deviceProfiles"):
        page = await client.get(path, params={"pageSize": 100, "page": 0})
        assert "theirs" not in page.text
        assert "secret-type" not in page.text
    assert (await client.get("/api/devices", params={"deviceIds": id_})).json() == []
    assert [point.value for point in await site.store.timeseries.latest("DEVICE", id_)] == [1]
