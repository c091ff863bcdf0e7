"""How clients log in, and what they are told when it cannot be said who they are."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from edgeferry.core.errors import Later, StoreUnavailable
from edgeferry.gateway.devices import Device
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.login import Login
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.mqtt.packets import V5, V311, Connect, Reason
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import (
    DEVICE,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)

pytestmark = pytest.mark.asyncio


class Away(FixedDevices):
    """Devices that have to be looked up, which fails; keeps who asked."""

    def __init__(self, error: Later) -> None:
        super().__init__()
        self.error = error
        self.asked: list[tuple[Login, str]] = []

    async def look(self, login: Login, address: str) -> Device | None:
        self.asked.append((login, address))
        raise self.error


@pytest.fixture
def devices() -> FixedDevices:
    return Away(StoreUnavailable("away"))


@pytest_asyncio.fixture
async def bed(
    devices: FixedDevices, metrics: CountedMetrics
) -> AsyncIterator[tuple[Gateway, Away]]:
    assert isinstance(devices, Away)
    gateway = Gateway(make_context(MemoryLog(), devices=devices, metrics=metrics), port=0)
    await gateway.start()
    yield gateway, devices
    await gateway.stop()


@pytest.mark.parametrize(
    ("version", "code"), [(V311, b"\3"), (V5, bytes([Reason.SERVER_UNAVAILABLE]))]
)
async def test_a_client_that_cannot_be_looked_up_is_told_to_come_again(
    bed: tuple[Gateway, Away], version: int, code: bytes
) -> None:
    gateway, devices = bed
    client = await RawClient(gateway.address, version).open()
    client.send(Connect(version, "c", True, 60, "user", b"secret"))
    assert (await client.receive()).codes == code
    assert await client.closed()
    await client.close()
    assert devices.asked == [(Login("user", b"secret", "c"), "127.0.0.1")]


async def test_a_client_that_is_held_back_is_counted(
    bed: tuple[Gateway, Away], metrics: CountedMetrics
) -> None:
    gateway, devices = bed
    devices.error = LookUpsBraked("later")
    client = await RawClient(gateway.address).open()
    assert (await client.connect("any")).codes == b"\3"
    await client.close()
    assert BRAKED in metrics.rejections


@pytest.mark.parametrize(("method", "path"), [("POST", "telemetry"), ("GET", "attributes")])
async def test_over_http_it_is_told_to_come_again(
    bed: tuple[Gateway, Away], metrics: CountedMetrics, method: str, path: str
) -> None:
    gateway, devices = bed
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        for error, word in ((StoreUnavailable("away"), "store"), (LookUpsBraked("no"), BRAKED)):
            devices.error = error
            answer = await client.request(method, f"/api/v1/t1/{path}", json={"a": 1})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert metrics.rejections[-1] == word
    assert devices.asked[0] == (Login("t1", token_only=True), "127.0.0.1")


async def test_a_changed_password_ends_the_session(metrics: CountedMetrics) -> None:
    class Basic(FixedDevices):
        password = b"old"

        def find(self, login: Login) -> Device | None:
            return DEVICE if (login.user_name, login.password) == (TOKEN, self.password) else None

    devices = Basic(DEVICE)
    gateway = Gateway(make_context(MemoryLog(), devices=devices, metrics=metrics), port=0)
    await gateway.start()
    client = await RawClient(gateway.address, V5).open()
    client.send(Connect(V5, "c", True, 60, TOKEN, b"old"))
    assert (await client.receive()).codes == b"\0"
    devices.replace(replace(DEVICE, name="renamed"))
    await gateway.check()
    client.publish(1, '{"a": 1}')
    assert (await client.receive()).packet_id == 1
    devices.password = b"new"
    devices.replace(DEVICE)
    await gateway.check()
    assert (await client.receive()).codes == bytes([Reason.NOT_AUTHORIZED])
    await client.close()
    await gateway.stop()
