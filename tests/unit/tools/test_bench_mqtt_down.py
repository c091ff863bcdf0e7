"""The benchmark's device that subscribes: against a gateway of bytes."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edgeferry.tools.bench.mqtt_device import Refused, remaining_length
from edgeferry.tools.bench.mqtt_down import ATTRIBUTES_TOPIC, DownDevice

pytestmark = pytest.mark.asyncio


class Gateway:
    """Answers CONNECT and SUBSCRIBE; ``acknowledges``: PUBLISH, too."""

    def __init__(self) -> None:
        self.code = 0
        self.granted = b"\x01\x01"
        self.acknowledges = True
        self.frames: list[tuple[int, bytes]] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while True:
                head = (await reader.readexactly(1))[0]
                size, shift = 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size, shift = size | (byte & 0x7F) << shift, shift + 7
                    if not byte & 0x80:
                        break
                self._take(head, await reader.readexactly(size), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _take(self, head: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.frames.append((head, body))
        if head == 0x10:
            writer.write(bytes((0x20, 2, 0, self.code)))
        elif head == 0x82:
            writer.write(bytes((0x90, 4)) + body[:2] + self.granted)
        elif head & 0xF0 == 0x30 and self.acknowledges:
            at = 2 + int.from_bytes(body[:2])
            writer.write(b"\x40\x02" + body[at : at + 2])

    def publish(self, topic: bytes, payload: bytes, packet_id: int = 7) -> bytes:
        body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", packet_id) + payload
        return bytes((0x32,)) + remaining_length(len(body)) + body

    def published(self) -> list[tuple[bool, bytes, bytes]]:
        """Whether it was marked as a repeat, topic, payload."""
        found = []
        for head, body in self.frames:
            if head & 0xF0 == 0x30:
                at = 2 + int.from_bytes(body[:2])
                found.append((bool(head & 8), body[2:at], body[at + 2 :]))
        return found


class Seen:
    def __init__(self) -> None:
        self.attributes: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []

    def device(self) -> DownDevice:
        def answer(_: DownDevice, body: dict[str, Any]) -> object:
            self.commands.append(body)
            return {"ok": body["params"]}

        return DownDevice(
            0, "token", attributes=lambda _, body: self.attributes.append(body), command=answer
        )


@asynccontextmanager
async def listening(gateway: Gateway) -> AsyncIterator[int]:
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for writer in gateway.writers:
            writer.close()
        server.close()
        await server.wait_closed()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_it_takes_attributes_and_answers_commands_however_the_bytes_come() -> None:
    gateway, seen = Gateway(), Seen()
    async with listening(gateway) as port:
        device = seen.device()
        await device.connect("127.0.0.1", port)
        long = b'{"text": "%s"}' % (b"x" * 300)
        data = gateway.publish(ATTRIBUTES_TOPIC, long) + gateway.publish(
            b"v1/devices/me/rpc/request/12", b'{"method": "m", "params": 3}', 8
        )
        for byte in data:
            gateway.writers[0].write(bytes((byte,)))
        await until(lambda: device.unacked == 0 and gateway.published())
        assert seen.attributes == [{"text": "x" * 300}]
        assert seen.commands == [{"method": "m", "params": 3}]
        assert gateway.published() == [(False, b"v1/devices/me/rpc/response/12", b'{"ok":3}')]
        acks = [body for head, body in gateway.frames if head == 0x40]
        assert acks == [b"\x00\x07", b"\x00\x08"]
        device.close()


async def test_what_was_not_acknowledged_is_sent_again_at_the_next_connection() -> None:
    gateway, seen = Gateway(), Seen()
    gateway.acknowledges = False
    async with listening(gateway) as port:
        device = seen.device()
        staying = asyncio.create_task(device.stay_connected("127.0.0.1", port))
        await until(lambda: device.up.done())
        device.publish(ATTRIBUTES_TOPIC, {"a": 1})
        await until(gateway.published)
        gateway.acknowledges = True
        gateway.writers[0].close()
        await until(lambda: device.unacked == 0)
        assert gateway.published() == [(again, ATTRIBUTES_TOPIC, b'{"a":1}') for again in (0, 1)]
        staying.cancel()
        await asyncio.wait([staying])
        device.close()


async def test_a_refusal_is_told() -> None:
    gateway, seen = Gateway(), Seen()
    async with listening(gateway) as port:
        gateway.code = 5
        with pytest.raises(Refused, match="code 5"):
            await seen.device().connect("127.0.0.1", port)
        gateway.code, gateway.granted = 0, b"\x01\x80"
        with pytest.raises(Refused, match="subscription"):
            await seen.device().connect("127.0.0.1", port)
