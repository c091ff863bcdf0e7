"""A device as load: one MQTT 3.1.1 connection that publishes QoS 1 with as little CPU as
Python allows. Raw frames, no library: the load must not be what is measured."""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

TELEMETRY_TOPIC = b"v1/devices/me/telemetry"
_CONNECT_HEAD = b"\x00\x04MQTT\x04"
_CLEAN_SESSION_WITH_USER = 0x82
_KEEP_ALIVE = 0
_PUBLISH_QOS1 = 0x32
_DUP = 0x08
_CONNACK, _PUBACK = 0x20, 0x40
_LAST_PACKET_ID = 0xFFFF
_TEXTS = ("idle", "warming", "running", "cooling")


class Refused(Exception):
    """The gateway did not accept this device; the text has its return code."""


def remaining_length(size: int) -> bytes:
    """MQTT's variable byte integer."""
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | 0x80 if size else low)
        if not size:
            return bytes(out)


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def connect_frame(client_id: str, token: str) -> bytes:
    """CONNECT with the access token as user name, clean session."""
    body = b"".join(
        (
            _CONNECT_HEAD,
            struct.pack(">BH", _CLEAN_SESSION_WITH_USER, _KEEP_ALIVE),
            _text(client_id.encode()),
            _text(token.encode()),
        )
    )
    return b"\x10" + remaining_length(len(body)) + body


def publish_frame(packet_id: int, payload: bytes, again: bool = False) -> bytes:
    """PUBLISH, QoS 1, to the telemetry topic; ``again`` sets DUP."""
    head = _PUBLISH_QOS1 | (_DUP if again else 0)
    size = 2 + len(TELEMETRY_TOPIC) + 2 + len(payload)
    return b"".join(
        (
            bytes((head,)),
            remaining_length(size),
            _text(TELEMETRY_TOPIC),
            struct.pack(">H", packet_id),
            payload,
        )
    )


def payload_of(ts: int) -> bytes:
    """One message: a long, a double and a text, all told by its timestamp (ms), so that
    a reader can check every value."""
    count, temperature, state = values_of(ts)
    return b'{"ts":%d,"values":{"count":%d,"temperature":%.2f,"state":"%s"}}' % (
        ts,
        count,
        temperature,
        state.encode(),
    )


def values_of(ts: int) -> tuple[int, float, str]:
    """count, temperature, state of the message of ``ts``."""
    return ts % 1_000_003, round((ts % 9_973) / 100 + 0.25, 2), _TEXTS[ts % len(_TEXTS)]


class Device(asyncio.Protocol):
    """One connection. What is not acknowledged stays in ``unacked`` (packet id -> ts), in
    order of publishing, and is sent again at the next ``connect``, before anything new."""

    def __init__(self, index: int, token: str, acked: Callable[["Device", int], None]) -> None:
        self.index = index
        self.token = token
        self.unacked: dict[int, int] = {}
        self.last_ts = 0
        self.published = 0
        self._acked = acked
        self._packet_id = 0
        self._transport: asyncio.Transport | None = None
        self._partial = b""
        self.up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.down = asyncio.Event()
        self.down.set()

    @property
    def connected(self) -> bool:
        return self._transport is not None and self.up.done()

    async def connect(self, host: str, port: int) -> None:
        """Raises OSError, Refused."""
        loop = asyncio.get_running_loop()
        self.up = loop.create_future()
        await loop.create_connection(lambda: self, host, port)
        await asyncio.wait_for(self.up, timeout=10)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    def publish(self, now_ms: int) -> int:
        """Send one message; its timestamp, which rises with every call, is returned."""
        ts = self.last_ts = max(now_ms, self.last_ts + 1)
        id_ = self._packet_id = self._packet_id % _LAST_PACKET_ID + 1
        self.unacked[id_] = ts
        self.published += 1
        if self._transport is not None:
            self._transport.write(publish_frame(id_, payload_of(ts)))
        return ts

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._partial = b""
        self.down.clear()
        self._transport.write(connect_frame(f"load-{self.index}", self.token))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.up.done():
            self.up.set_exception(ConnectionResetError("closed before CONNACK"))
        self.down.set()

    def data_received(self, data: bytes) -> None:
        data = self._partial + data
        at = 0
        # CONNACK and PUBACK, all that a publisher is sent, take four bytes each.
        while len(data) - at >= 4:
            kind = data[at]
            if kind == _PUBACK:
                ts = self.unacked.pop(data[at + 2] << 8 | data[at + 3], None)
                if ts is not None:
                    self._acked(self, ts)
            elif kind == _CONNACK and not self.up.done():
                self._connack(data[at + 3])
            at += 4
        self._partial = data[at:]

    def _connack(self, code: int) -> None:
        if code == 0:
            # before anybody knows that the device is up: nothing newer may overtake
            if self._transport is not None and self.unacked:
                self._transport.writelines(
                    [publish_frame(id_, payload_of(ts), True) for id_, ts in self.unacked.items()]
                )
            self.up.set_result(None)
        else:
            self.up.set_exception(
                Refused(f"device {self.index}: the gateway refused it (code {code})")
            )
