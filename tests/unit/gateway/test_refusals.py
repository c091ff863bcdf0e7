"""What is refused before it is acknowledged: no room for it, or it comes too fast."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from edgeferry.core.admission import LANES, Admission
from edgeferry.core.clock import ManualClock
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.mqtt.packets import V5, V311, Property, Reason
from edgeferry.gateway.mqtt.uplink import REFUSED_SECONDS
from edgeferry.gateway.rates import RateLimits, Unlimited
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.settings import LimitSettings
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.conftest import RULES, OpenClient
from tests.unit.gateway.fakes import (
    DEVICE,
    OTHER,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
ATTRIBUTES = "v1/devices/me/attributes"
TELEMETRY_PATH = f"/api/v1/{TOKEN}/telemetry"
ATTRIBUTES_PATH = f"/api/v1/{TOKEN}/attributes"


@dataclass(frozen=True)
class Slow:
    device_rate: float = 20.0
    device_burst: int = 2
    site_rate: float = 0.0
    site_burst: int = 1


@pytest.fixture
def rates() -> RateLimits:
    return Unlimited()


@pytest.fixture
def admission() -> Admission:
    return Admission()


@pytest_asyncio.fixture
async def gateway(
    log: MemoryLog,
    clock: ManualClock,
    metrics: CountedMetrics,
    rates: RateLimits,
    admission: Admission,
) -> AsyncIterator[Gateway]:
    context = make_context(
        log,
        devices=FixedDevices(DEVICE, OTHER),
        clock=clock,
        metrics=metrics,
        limits=LimitSettings(payload_bytes=10_000),
    )
    found = Gateway(replace(context, rates=rates, admission=admission), port=0, rules=RULES)
    await found.start()
    yield found
    log.gate.set()
    await found.stop()


@pytest_asyncio.fixture
async def web(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as found:
        yield found


async def refused(device: RawClient, packet_id: int) -> str:
    """The reason string of a PUBACK that says quota exceeded."""
    answer = await device.receive()
    assert (answer.kind, answer.packet_id) == (4, packet_id)
    assert answer.codes == bytes([Reason.QUOTA_EXCEEDED])
    return str(answer.properties[Property.REASON_STRING])


async def test_http_is_told_503_with_the_reason_and_when_to_come_back(
    web: httpx.AsyncClient, admission: Admission, log: MemoryLog, metrics: CountedMetrics
) -> None:
    admission.refuse("outbox", "telemetry", "the outbox is full")
    answer = await web.post(TELEMETRY_PATH, content='{"t": 1}')
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert answer.json() == {
        "status": 503,
        "reason": "outbox",
        "message": "not stored: the outbox is full",
        "retryAfterSeconds": 10,
    }
    assert log.records == []
    assert metrics.rejections == ["outbox"]
    assert admission.refused["telemetry"] == 1
    admission.admit("outbox", "telemetry")
    assert (await web.post(TELEMETRY_PATH, content='{"t": 1}')).status_code == 200


async def test_each_kind_is_judged_by_its_own_lane(
    web: httpx.AsyncClient, admission: Admission, client: OpenClient
) -> None:
    admission.refuse("outbox", "general", "full")
    assert (await web.post(TELEMETRY_PATH, content='{"t": 1}')).status_code == 200
    assert (await web.post(ATTRIBUTES_PATH, content='{"t": 1}')).status_code == 503
    device = await client(V5)
    device.publish(1, '{"t": 1}', ATTRIBUTES)
    assert await refused(device, 1) == "full"
    device.publish(2, '{"t": 1}')
    assert await device.acknowledged(1) == [2]


async def test_mqtt_5_gets_a_puback_that_says_why_and_stays(
    client: OpenClient, admission: Admission, log: MemoryLog
) -> None:
    device = await client(V5)
    admission.refuse("disk", "telemetry", "the disk is nearly full")
    device.publish(1, '{"t": 1}')
    assert await refused(device, 1) == "the disk is nearly full"
    admission.admit("disk", "telemetry")
    device.publish(2, '{"t": 2}')
    assert await device.acknowledged(1) == [2]
    assert [m.json["t"] for m in log.messages()] == [2]


async def test_mqtt_311_is_closed_without_a_puback_after_what_it_sent_before_is_acknowledged(
    client: OpenClient, admission: Admission, log: MemoryLog, gateway: Gateway, clock: ManualClock
) -> None:
    device = await client(V311)
    log.gate.clear()
    device.publish(1, '{"t": 1}')
    await device.silent()
    admission.refuse("outbox", "telemetry", "full")
    device.publish(2, '{"t": 2}')
    device.publish(3, '{"t": 3}')
    await until(lambda: admission.refused["telemetry"] == 1)
    clock.advance(REFUSED_SECONDS)
    await gateway.check()
    log.gate.set()
    assert await device.acknowledged(1) == [1]
    await gateway.check()
    assert await device.closed()
    assert [m.json["t"] for m in log.messages()] == [1]


async def test_it_is_not_closed_at_once_as_it_would_be_back_at_once(
    client: OpenClient, admission: Admission, gateway: Gateway, clock: ManualClock
) -> None:
    device = await client(V311)
    admission.refuse("outbox", "telemetry", "full")
    device.publish(1, '{"t": 1}')
    await until(lambda: admission.refused["telemetry"] == 1)
    clock.advance(REFUSED_SECONDS / 2)
    await gateway.check()
    with pytest.raises(TimeoutError):
        await device.closed(0.1)
    clock.advance(REFUSED_SECONDS / 2)
    await gateway.check()
    assert await device.closed()


@pytest.mark.parametrize("version", [V311, V5])
async def test_qos_0_is_dropped_and_counted(
    version: int, client: OpenClient, admission: Admission, metrics: CountedMetrics, log: MemoryLog
) -> None:
    device = await client(version)
    admission.refuse("outbox", "telemetry", "full")
    device.publish(0, '{"t": 1}')
    await device.silent()
    assert log.records == []
    assert metrics.rejections == ["outbox"]


async def test_nobody_gets_in_while_nothing_at_all_is_taken(
    gateway: Gateway, admission: Admission
) -> None:
    for lane in LANES:
        admission.refuse("disk", lane, "full")
    device = await RawClient(gateway.address, V311).open()
    assert (await device.connect(TOKEN)).codes == b"\x03"
    await device.close()


async def test_what_waits_for_the_log_when_a_lane_fills_up_is_still_acknowledged(
    client: OpenClient, admission: Admission, log: MemoryLog
) -> None:
    device = await client(V5)
    log.gate.clear()
    device.publish(1, '{"t": 1}')
    await device.silent()
    admission.refuse("outbox", "telemetry", "full")
    log.gate.set()
    assert await device.acknowledged(1) == [1]


class TestTooFast:
    @pytest.fixture
    def rates(self) -> RateLimits:
        return Slow()

    async def test_http_is_told_429(
        self, web: httpx.AsyncClient, clock: ManualClock, metrics: CountedMetrics
    ) -> None:
        codes = [(await web.post(TELEMETRY_PATH, content='{"t": 1}')).status_code for _ in "123"]
        assert codes == [200, 200, 429]
        answer = await web.post(ATTRIBUTES_PATH, content='{"t": 1}')
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["reason"] == "rate"
        assert metrics.rejections == ["rate", "rate"]
        clock.advance(0.1)
        assert (await web.post(TELEMETRY_PATH, content='{"t": 1}')).status_code == 200

    async def test_mqtt_5_is_told(self, client: OpenClient, log: MemoryLog) -> None:
        device = await client(V5)
        for packet_id in (1, 2, 3):
            device.publish(packet_id, '{"t": 1}')
        assert await device.acknowledged(2) == [1, 2]
        assert "too fast" in await refused(device, 3)
        assert len(log.messages()) == 2

    async def test_another_device_is_not_held_up(self, client: OpenClient) -> None:
        fast, other = await client(V5), await client(V5, token=OTHER.token)
        for packet_id in (1, 2, 3):
            fast.publish(packet_id, '{"t": 1}')
        other.publish(1, '{"t": 1}')
        assert await other.acknowledged(1) == [1]
        assert await fast.acknowledged(3) == [1, 2, 3]

    @pytest.mark.parametrize(("version", "qos"), [(V311, 1), (V311, 0), (V5, 0)])
    async def test_who_cannot_be_told_is_read_more_slowly_and_loses_nothing(
        self,
        version: int,
        qos: int,
        client: OpenClient,
        log: MemoryLog,
        metrics: CountedMetrics,
        clock: ManualClock,
    ) -> None:
        device = await client(version)
        for number in range(1, 6):
            device.publish(number if qos else 0, f'{{"t": {number}}}')
        if qos:
            assert await device.acknowledged(5) == [1, 2, 3, 4, 5]
        await until(lambda: len(log.messages()) == 5)
        assert [m.json["t"] for m in log.messages()] == [1, 2, 3, 4, 5]
        assert metrics.rejections == []
        assert metrics.slow == 4  # each after the burst of two
