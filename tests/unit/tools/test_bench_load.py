"""The load generator's device against a gateway of a few lines."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.gateway.payload import read_telemetry
from edgeferry.runtime.settings import LimitSettings
from edgeferry.tools.bench.mqtt_device import (
    TELEMETRY_TOPIC,
    Device,
    Refused,
    payload_of,
    publish_frame,
    remaining_length,
    values_of,
)


class Broker:
    """Reads whole packets; acknowledges publishes while ``acknowledging``."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.code = 0
        self.acknowledging = True
        self.arrived = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self.server is not None
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readexactly(1)
                size, shift = 0, 0
                while (byte := (await reader.readexactly(1))[0]) & 0x80:
                    size, shift = size | (byte & 0x7F) << shift, shift + 7
                body = await reader.readexactly(size | byte << shift)
                self.packets.append(head + body)
                if head == b"\x10":
                    writer.write(bytes((0x20, 2, 0, self.code)))
                elif self.acknowledging and head[0] & 0xF0 == 0x30:
                    at = 2 + len(TELEMETRY_TOPIC)
                    writer.write(b"\x40\x02" + body[at : at + 2])
                self.arrived.set()
        except asyncio.IncompleteReadError:
            writer.close()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.packets) < count:
                self.arrived.clear()
                await self.arrived.wait()


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    broker.server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    yield broker
    broker.server.close()
    for writer in broker.writers:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    await broker.server.wait_closed()


@pytest.mark.asyncio
async def test_what_is_published_is_acknowledged_with_its_timestamp(broker: Broker) -> None:
    acked: asyncio.Queue[int] = asyncio.Queue()
    device = Device(0, "token", lambda _, ts: acked.put_nowait(ts))
    await device.connect("127.0.0.1", broker.port)
    assert [device.publish(1000), device.publish(1000), device.publish(5000)] == [1000, 1001, 5000]
    async with asyncio.timeout(5):
        assert [await acked.get() for _ in range(3)] == [1000, 1001, 5000]
    assert device.unacked == {}
    device.close()
    await device.down.wait()


@pytest.mark.asyncio
async def test_what_was_not_acknowledged_is_sent_again_before_anything_new(broker: Broker) -> None:
    broker.acknowledging = False
    device = Device(0, "token", lambda _, ts: None)
    await device.connect("127.0.0.1", broker.port)
    device.publish(1)
    device.publish(2)
    await broker.until(3)
    broker.writers[0].transport.abort()
    await device.down.wait()
    connecting = asyncio.create_task(device.connect("127.0.0.1", broker.port))
    async with asyncio.timeout(5):
        while not device.connected:
            await asyncio.sleep(0)
    device.publish(3)  # at the first moment that it may
    await connecting
    await broker.until(7)
    again = broker.packets[4:]
    assert [packet[0] for packet in again] == [0x3A, 0x3A, 0x32]
    assert all(payload_of(ts) in packet for ts, packet in zip((1, 2, 3), again, strict=True))
    device.close()
    await device.down.wait()


@pytest.mark.asyncio
async def test_a_refused_device_says_so(broker: Broker) -> None:
    broker.code = 5
    device = Device(7, "wrong", lambda _, ts: None)
    with pytest.raises(Refused, match=r"device 7.*code 5"):
        await device.connect("127.0.0.1", broker.port)
    device.close()
    await device.down.wait()


@pytest.mark.parametrize(("size", "expected"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01")])
def test_remaining_length(size: int, expected: bytes) -> None:
    assert remaining_length(size) == expected


def test_a_publish_frame_is_qos_1() -> None:
    frame = publish_frame(258, b"{}")
    assert frame == b"\x32\x1d\x00\x17" + TELEMETRY_TOPIC + b"\x01\x02{}"


@pytest.mark.parametrize("ts", [1_700_000_000_000, 1_700_000_009_948, 1_795_520_445_719])
def test_the_gateway_reads_the_values_that_are_compared(ts: int) -> None:
    (point,) = read_telemetry(payload_of(ts), ManualClock().now_ms(), LimitSettings())
    assert point.ts == ts
    assert tuple(point.values.values()) == values_of(ts)
    assert [type(value) for value in point.values.values()] == [int, float, str]
