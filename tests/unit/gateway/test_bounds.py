"""Floods of connections: who says nothing makes room, and devices get through."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.connection_bound import Bounds
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.conftest import RULES
from tests.unit.gateway.fakes import (
    DEVICE,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
BOUNDS = Bounds(most=12, waiting=8, per_address=4)


@pytest_asyncio.fixture
async def gateway(
    log: MemoryLog, clock: ManualClock, metrics: CountedMetrics
) -> AsyncIterator[Gateway]:
    context = make_context(log, devices=FixedDevices(DEVICE), clock=clock, metrics=metrics)
    found = Gateway(context, port=0, rules=RULES, bounds=BOUNDS)
    await found.start()
    yield found
    await found.stop()


class Silent:
    """Connections that are made and never used."""

    def __init__(self, gateway: Gateway) -> None:
        host, _, port = gateway.address.rpartition(":")
        self._at = (host, int(port))
        self.made: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self, count: int, address: str) -> None:
        for _ in range(count):
            made = await asyncio.open_connection(*self._at, local_addr=(address, 0))
            self.made.append(made)

    def close(self) -> None:
        for _, writer in self.made:
            writer.transport.abort()


@pytest_asyncio.fixture
async def silent(gateway: Gateway) -> AsyncIterator[Silent]:
    found = Silent(gateway)
    yield found
    found.close()


async def connected(gateway: Gateway, stack: AsyncExitStack, client_id: str) -> bytes:
    device = await RawClient(gateway.address).open()
    stack.push_async_callback(device.close)
    return (await device.connect(TOKEN, client_id)).codes


async def test_a_flood_from_one_address_keeps_no_other_out(
    gateway: Gateway, silent: Silent, metrics: CountedMetrics
) -> None:
    await silent.connect(50, "127.0.0.2")
    await until(lambda: metrics.rejections.count("connections") == 46)
    assert metrics.open == 4
    async with AsyncExitStack() as stack:
        for number in range(8):
            assert await connected(gateway, stack, str(number)) == b"\0"
        assert metrics.open == 12


async def test_a_flood_from_many_addresses_makes_room_for_a_device(
    gateway: Gateway, silent: Silent, metrics: CountedMetrics
) -> None:
    async with AsyncExitStack() as stack:
        for number in range(8):
            assert await connected(gateway, stack, str(number)) == b"\0"
            for address in range(2, 12):
                await silent.connect(3, f"127.0.0.{address}")
        await until(lambda: metrics.open == 12)
        assert await connected(gateway, stack, "late") == b"\0"
        assert metrics.open == 12


async def test_devices_that_are_in_stay_when_there_are_too_many(
    gateway: Gateway, metrics: CountedMetrics
) -> None:
    async with AsyncExitStack() as stack:
        for number in range(12):
            assert await connected(gateway, stack, str(number)) == b"\0"
        late = await RawClient(gateway.address).open()
        stack.push_async_callback(late.close)
        assert await late.closed()
        assert (metrics.open, metrics.rejections) == (12, ["connections"])
