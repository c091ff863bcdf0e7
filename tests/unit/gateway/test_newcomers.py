"""Clients without credentials that ask for some, over MQTT and HTTP."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from edgeferry.core.clock import ManualClock
from edgeferry.core.credentials import access_token
from edgeferry.core.errors import StoreUnavailable
from edgeferry.gateway.devices import Device
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    Properties,
    Property,
    PubAck,
    Subscribe,
    Subscription,
    Will,
)
from edgeferry.gateway.ports import DevicePorts
from edgeferry.gateway.provisioning import NotProvisioned, Provisioned, Status, Wish
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import CountedMetrics, MemoryLog, make_context
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
REQUEST, RESPONSE = "/provision/request", "/provision/response"
MADE = Device("pump-7", "5f6e3a07-5b1e-11f0-8000-0242ac120002", "pump", "t0ken")
ASKED = json.dumps(
    {"provisionDeviceKey": "k", "provisionDeviceSecret": "s3cret", "deviceName": "pump-7"}
)
GRANTED = {"credentialsType": "ACCESS_TOKEN", "credentialsValue": "t0ken", "status": "SUCCESS"}
both_versions = pytest.mark.parametrize("version", [V311, V5])


class FakeProvisioner:
    """Gives what is asked for, or raises ``error``."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[Wish, str]] = []

    async def provision(self, wish: Wish, address: str) -> Provisioned:
        self.asked.append((wish, address))
        if self.error is not None:
            raise self.error
        return Provisioned(MADE, access_token("t0ken"))


@pytest.fixture
def provisioner() -> FakeProvisioner:
    return FakeProvisioner()


@pytest.fixture
def ports(provisioner: FakeProvisioner) -> DevicePorts:
    return DevicePorts(provisioner=provisioner)


Newcomer = Callable[..., Awaitable[RawClient]]


@pytest_asyncio.fixture
async def newcomer(gateway: Gateway) -> AsyncIterator[Newcomer]:
    async with AsyncExitStack() as stack:

        async def opened(version: int = V311, user: str | None = "provision") -> RawClient:
            client = await RawClient(gateway.address, version).open()
            stack.push_async_callback(client.close)
            client_id = "any" if user else "provision"
            client.send(Connect(version, client_id, True, 60, user))
            assert (await client.receive()).codes == b"\0"
            return client

        yield opened


async def answer(client: RawClient) -> dict[str, object]:
    packet = await client.receive()
    assert packet.topic == RESPONSE
    found = json.loads(packet.payload)
    assert isinstance(found, dict)
    return found


@both_versions
@pytest.mark.parametrize("user", ["provision", None])
async def test_a_client_gets_its_credentials(
    newcomer: Newcomer, provisioner: FakeProvisioner, version: int, user: str | None
) -> None:
    client = await newcomer(version, user)
    client.send(Subscribe(1, (Subscription(RESPONSE, 1), Subscription("v1/devices/me/rpc/+", 1))))
    granted = await client.receive()
    assert granted.codes == (b"\1\x80" if version == V311 else b"\1\x87")
    client.publish(5, ASKED, REQUEST)
    assert await client.acknowledged(1) == [5]
    packet = await client.receive()
    assert (packet.qos, json.loads(packet.payload)) == (1, GRANTED)
    client.send(PubAck(packet.packet_id))
    await client.silent()
    assert provisioner.asked == [(Wish("k", "s3cret", "pump-7"), "127.0.0.1")]


async def test_one_that_did_not_subscribe_is_answered_too(newcomer: Newcomer) -> None:
    client = await newcomer()
    client.publish(0, ASKED, REQUEST)
    assert await answer(client) == GRANTED
    client.publish(0, ASKED, REQUEST)
    assert await answer(client) == GRANTED
    client.send(Disconnect())
    assert await client.closed()


async def test_the_root_chain_is_told_without_secrets(
    newcomer: Newcomer, provisioner: FakeProvisioner, log: MemoryLog
) -> None:
    client = await newcomer()
    for error, type_ in (
        (None, "PROVISION_SUCCESS"),
        (NotProvisioned(Status.FAILURE, "it is there", MADE), "PROVISION_FAILURE"),
    ):
        provisioner.error = error
        client.publish(0, ASKED, REQUEST)
        await answer(client)
        await until(lambda: bool(log.messages()))
        (message,) = log.messages()
        assert message.type == type_
        log.records.clear()
        assert (message.entity_id, message.metadata) == (
            MADE.id, {"deviceName": "pump-7", "deviceType": "pump"},
        )  # fmt: skip
        assert message.json == {"deviceName": "pump-7", "gateway": False}


@pytest.mark.parametrize(
    ("error", "told", "word"),
    [
        (
            NotProvisioned(Status.NOT_FOUND, "Provision data was not found!"),
            {"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"},
            "provision",
        ),
        (
            StoreUnavailable("away"),
            {"errorMsg": "try again: away", "status": "FAILURE"},
            "store",
        ),
        (
            LookUpsBraked("too many"),
            {"errorMsg": "try again: too many", "status": "FAILURE"},
            BRAKED,
        ),
    ],
)
async def test_one_that_gets_none_is_told_why(
    newcomer: Newcomer,
    provisioner: FakeProvisioner,
    metrics: CountedMetrics,
    log: MemoryLog,
    error: Exception,
    told: dict[str, str],
    word: str,
) -> None:
    provisioner.error = error
    client = await newcomer()
    client.publish(0, ASKED, REQUEST)
    assert await answer(client) == told
    assert metrics.rejections == [word]
    assert log.records == []


async def test_what_is_no_wish_is_answered_with_the_reason(
    newcomer: Newcomer, provisioner: FakeProvisioner, metrics: CountedMetrics
) -> None:
    client = await newcomer()
    for payload, text in (("{", "not JSON"), ("{}", "provisionDeviceKey: a text")):
        client.publish(0, payload, REQUEST)
        told = await answer(client)
        assert told["status"] == "FAILURE"
        assert text in str(told["errorMsg"])
    assert provisioner.asked == []
    assert metrics.rejections == ["payload"] * 2


@both_versions
@pytest.mark.parametrize("topic", ["v1/devices/me/telemetry", RESPONSE, "any"])
async def test_nothing_else_may_be_published(
    newcomer: Newcomer, log: MemoryLog, version: int, topic: str
) -> None:
    client = await newcomer(version)
    client.publish(1, '{"a": 1}', topic)
    if version == V5:
        assert (await client.receive()).codes == b"\x87"
    assert await client.closed()
    assert log.records == []


async def test_a_newcomer_has_no_will_and_no_session(gateway: Gateway, log: MemoryLog) -> None:
    will = Will("v1/devices/me/telemetry", b'{"a": 1}', 1, False)
    for _ in range(2):
        client = await RawClient(gateway.address, V5).open()
        kept: Properties = {Property.SESSION_EXPIRY: 60}
        client.send(Connect(V5, "c", False, 60, "provision", will=will, properties=kept))
        told = await client.receive()
        assert (told.codes, told.session_present) == (b"\0", False)
        client.send(Subscribe(1, (Subscription(RESPONSE, 1),)))
        assert (await client.receive()).codes == b"\1"
        await client.close()
    await gateway.check()
    assert log.records == []


async def test_one_that_asks_for_nothing_is_sent_away_in_a_minute(
    newcomer: Newcomer, gateway: Gateway, clock: ManualClock
) -> None:
    client = await newcomer(V5)
    clock.advance(59)
    await gateway.check()
    await client.silent()
    clock.advance(2)
    await gateway.check()
    assert (await client.receive()).codes == b"\x8d"
    assert await client.closed()


async def test_a_full_disk_is_told(newcomer: Newcomer, gateway: Gateway) -> None:
    client = await newcomer()
    gateway.context.admission.refuse("disk", "general", "the disk is full")
    client.publish(0, ASKED, REQUEST)
    assert await answer(client) == {
        "errorMsg": "try again: the disk is full", "status": "FAILURE",
    }  # fmt: skip


@pytest_asyncio.fixture
async def web(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as found:
        yield found


async def test_over_http_it_gets_its_credentials_or_the_reason(
    web: httpx.AsyncClient, provisioner: FakeProvisioner, metrics: CountedMetrics
) -> None:
    path = "/api/v1/provision"
    found = await web.post(path, content=ASKED)
    assert (found.status_code, found.json()) == (200, GRANTED)
    provisioner.error = NotProvisioned(Status.FAILURE, "no")
    refused = await web.post(path, content=ASKED)
    assert (refused.status_code, refused.json()["status"]) == (200, "FAILURE")
    wrong = await web.post(path, content="{}")
    assert (wrong.status_code, wrong.text[:18]) == (400, "provisionDeviceKey")
    assert (await web.post(path, content="x" * 20_000)).status_code == 413
    for error, word in ((StoreUnavailable("away"), "store"), (LookUpsBraked("many"), BRAKED)):
        provisioner.error = error
        later = await web.post(path, content=ASKED)
        assert (later.status_code, later.headers["Retry-After"]) == (503, "5")
        assert metrics.rejections[-1] == word


@pytest_asyncio.fixture
async def without(log: MemoryLog) -> AsyncIterator[Gateway]:
    """A gateway whose site has no provisioning file."""
    gateway = Gateway(make_context(log), port=0)
    await gateway.start()
    yield gateway
    await gateway.stop()


async def test_a_site_that_gives_none_says_so(without: Gateway, log: MemoryLog) -> None:
    client = await RawClient(without.address).open()
    assert (await client.connect("provision")).codes == b"\0"
    client.publish(0, ASKED, REQUEST)
    over_mqtt = await answer(client)
    transport = httpx.ASGITransport(Starlette(routes=http_routes(without)))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as web:
        over_http = (await web.post("/api/v1/provision", content=ASKED)).json()
    assert over_mqtt == over_http
    assert over_http["status"] == "NOT_FOUND"
    assert over_http["errorMsg"].startswith("Provision data was not found!")
    assert "its setting provisioning_file is empty" in over_http["errorMsg"]
    assert log.records == []
    await client.close()
