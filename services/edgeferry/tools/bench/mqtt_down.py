"""A device as a benchmark's receiver: one MQTT 3.1.1 connection that subscribes to its shared
attributes and its commands, and answers them. Raw frames, as ``mqtt_device``."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, cast

import orjson

from edgeferry.tools.bench.mqtt_device import Refused, connect_frame, remaining_length

ATTRIBUTES_TOPIC: Final = b"v1/devices/me/attributes"
_COMMAND_TOPIC: Final = b"v1/devices/me/rpc/request/"
_ANSWER_TOPIC: Final = b"v1/devices/me/rpc/response/"
_PUBLISH_QOS1, _SUBSCRIBE = 0x32, 0x82
_DUP = 0x08
_LAST_PACKET_ID = 0xFFFF
_RECONNECT_SECONDS: Final = 0.2
_CONNECT_SECONDS: Final = 10.0

OnAttributes = Callable[["DownDevice", dict[str, Any]], None]
OnCommand = Callable[["DownDevice", dict[str, Any]], object]
"""What the device answers, as JSON takes it."""


class DownDevice(asyncio.Protocol):
    """What was published and not acknowledged is sent again at the next connection."""

    def __init__(
        self, index: int, token: str, *, attributes: OnAttributes, command: OnCommand
    ) -> None:
        self.index = index
        self._token = token
        self._on_attributes = attributes
        self._on_command = command
        self._unacked: dict[int, tuple[bytes, bytes]] = {}
        self._packet_id = 0
        self._transport: asyncio.Transport | None = None
        self._partial = b""
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.down = asyncio.Event()
        self.down.set()

    @property
    def unacked(self) -> int:
        return len(self._unacked)

    async def connect(self, host: str, port: int) -> None:
        """Until it is subscribed. Raises OSError, TimeoutError, Refused."""
        loop = asyncio.get_running_loop()
        self.up = loop.create_future()
        await loop.create_connection(lambda: self, host, port)
        await asyncio.wait_for(self.up, timeout=_CONNECT_SECONDS)

    async def stay_connected(self, host: str, port: int) -> None:
        """For ever."""
        while True:
            await self.down.wait()
            with suppress(OSError, TimeoutError, Refused):
                await self.connect(host, port)
                continue
            if self._transport is not None:
                self._transport.abort()
            await asyncio.sleep(_RECONNECT_SECONDS)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    def publish(self, topic: bytes, body: object) -> None:
        """QoS 1."""
        id_ = self._next_id()
        self._unacked[id_] = (topic, orjson.dumps(body))
        self._write(_publish(id_, *self._unacked[id_]))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._partial = b""
        self.down.clear()
        self._write(connect_frame(f"down-{self.index}", self._token))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.up.done():
            self.up.set_exception(ConnectionResetError("closed before SUBACK"))
            self.up.exception()  # told to who waits, if anybody does
        self.down.set()

    def data_received(self, data: bytes) -> None:
        self._partial += data
        for head, body in self._frames():
            match head & 0xF0:
                case 0x20:
                    self._connack(body[1])
                case 0x90:
                    self._subscribed(body[2:])
                case 0x40:
                    self._unacked.pop(int.from_bytes(body[:2]), None)
                case 0x30:
                    self._received(head, body)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """The first byte and the body of each that is whole."""
        while len(self._partial) >= 2:
            size, shift, at = 0, 0, 1
            while True:
                if at >= len(self._partial):
                    return
                byte = self._partial[at]
                size |= (byte & 0x7F) << shift
                shift, at = shift + 7, at + 1
                if not byte & 0x80:
                    break
            if len(self._partial) < at + size:
                return
            head, body = self._partial[0], self._partial[at : at + size]
            self._partial = self._partial[at + size :]
            yield head, body

    def _connack(self, code: int) -> None:
        if code:
            if not self.up.done():
                text = f"device {self.index}: the gateway refused it (code {code})"
                self.up.set_exception(Refused(text))
            return
        for id_, (topic, payload) in self._unacked.items():
            self._write(_publish(id_, topic, payload, again=True))
        filters = b"".join(
            struct.pack(">H", len(name)) + name + b"\x01"
            for name in (ATTRIBUTES_TOPIC, _COMMAND_TOPIC + b"+")
        )
        body = struct.pack(">H", self._next_id()) + filters
        self._write(bytes((_SUBSCRIBE,)) + remaining_length(len(body)) + body)

    def _subscribed(self, codes: bytes) -> None:
        if self.up.done():
            return
        if any(code > 1 for code in codes):
            self.up.set_exception(Refused(f"device {self.index}: a subscription was refused"))
        else:
            self.up.set_result(None)

    def _received(self, head: int, body: bytes) -> None:
        size = int.from_bytes(body[:2])
        topic, rest = body[2 : 2 + size], body[2 + size :]
        if head & 0x06:
            packet_id, rest = rest[:2], rest[2:]
        payload = orjson.loads(rest)
        if topic == ATTRIBUTES_TOPIC:
            self._on_attributes(self, payload)
        else:
            answer = self._on_command(self, payload)
            self.publish(_ANSWER_TOPIC + topic.removeprefix(_COMMAND_TOPIC), answer)
        if head & 0x06:
            self._write(b"\x40\x02" + packet_id)

    def _next_id(self) -> int:
        while True:
            self._packet_id = self._packet_id % _LAST_PACKET_ID + 1
            if self._packet_id not in self._unacked:
                return self._packet_id

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _publish(packet_id: int, topic: bytes, payload: bytes, *, again: bool = False) -> bytes:
    body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", packet_id) + payload
    head = _PUBLISH_QOS1 | (_DUP if again else 0)
    return bytes((head,)) + remaining_length(len(body)) + body
