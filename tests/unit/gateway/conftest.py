"""A gateway on a free port with a log in memory and a clock moved by hand."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.gateway.appender import AppendRules
from edgeferry.gateway.mqtt.packets import V311
from edgeferry.gateway.ports import DevicePorts
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.settings import LimitSettings
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import (
    DEVICE,
    OTHER,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)
from tests.unit.gateway.links import FakeAttributes, FakeCommands, FakeNested

RULES = AppendRules(max_waiting_bytes=400_000, patience=30, first_retry=0.005, longest_retry=0.005)
OpenClient = Callable[..., Awaitable[RawClient]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> CountedMetrics:
    return CountedMetrics()


@pytest.fixture
def devices() -> FixedDevices:
    return FixedDevices(DEVICE, OTHER)


@pytest_asyncio.fixture
async def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def attributes() -> FakeAttributes:
    return FakeAttributes()


@pytest.fixture
def commands() -> FakeCommands:
    return FakeCommands()


@pytest.fixture
def ports(attributes: FakeAttributes, commands: FakeCommands) -> DevicePorts:
    return DevicePorts(attributes=attributes, commands=commands, nested=FakeNested())


@pytest_asyncio.fixture
async def gateway(
    log: MemoryLog,
    clock: ManualClock,
    metrics: CountedMetrics,
    devices: FixedDevices,
    ports: DevicePorts,
) -> AsyncIterator[Gateway]:
    context = make_context(
        log,
        devices=devices,
        clock=clock,
        metrics=metrics,
        limits=LimitSettings(payload_bytes=10_000),
        ports=ports,
    )
    found = Gateway(context, port=0, rules=RULES)
    await found.start()
    yield found
    log.gate.set()
    log.failures = 0
    await found.stop()


@pytest_asyncio.fixture
async def client(gateway: Gateway) -> AsyncIterator[OpenClient]:
    """Opens connected clients; they are closed afterwards."""
    async with AsyncExitStack() as stack:

        async def opened(
            version: int = V311, *, token: str | None = TOKEN, client_id: str = "client"
        ) -> RawClient:
            found = await RawClient(gateway.address, version).open()
            stack.push_async_callback(found.close)
            if token is not None:
                answer = await found.connect(token, client_id)
                assert answer.codes == b"\0"
            return found

        yield opened
