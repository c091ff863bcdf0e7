"""The client's half of MQTT, written from the standard and apart from the server's."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeferry.gateway.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    V311,
    Connect,
    Disconnect,
    FromClient,
    PingReq,
    Properties,
    PropertyValue,
    PubAck,
    Publish,
    Subscribe,
    Unsubscribe,
)

BYTE, TWO, FOUR, VARIABLE, BINARY, STRING, PAIRS = range(7)
PROPERTY_TYPES: Mapping[int, int] = {
    0x01: BYTE, 0x02: FOUR, 0x03: STRING, 0x08: STRING, 0x09: BINARY, 0x0B: VARIABLE,
    0x11: FOUR, 0x12: STRING, 0x13: TWO, 0x15: STRING, 0x16: BINARY, 0x17: BYTE, 0x18: FOUR,
    0x19: BYTE, 0x1A: STRING, 0x1C: STRING, 0x1F: STRING, 0x21: TWO, 0x22: TWO, 0x23: TWO,
    0x24: BYTE, 0x25: BYTE, 0x26: PAIRS, 0x27: FOUR, 0x28: BYTE, 0x29: BYTE, 0x2A: BYTE,
}  # fmt: skip
WIDTHS = {BYTE: 1, TWO: 2, FOUR: 4}


def length(value: int) -> bytes:
    out = b""
    while True:
        value, low = divmod(value, 128)
        out += bytes([low + (128 if value else 0)])
        if not value:
            return out


def block(data: bytes | str) -> bytes:
    raw = data.encode() if isinstance(data, str) else data
    return len(raw).to_bytes(2, "big") + raw


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + length(len(body)) + body


def properties(values: Properties) -> bytes:
    body = b""
    for id_, value in values.items():
        if isinstance(value, list):
            body += b"".join(length(id_) + block(name) + block(text) for name, text in value)
        elif isinstance(value, int):
            kind = PROPERTY_TYPES[id_]
            number = length(value) if kind == VARIABLE else value.to_bytes(WIDTHS[kind], "big")
            body += length(id_) + number
        else:
            body += length(id_) + block(value)
    return length(len(body)) + body


def encode(wanted: FromClient, version: int = V311) -> bytes:
    def props(values: Properties) -> bytes:
        return properties(values) if version == V5 else b""

    match wanted:
        case Connect():
            return _connect(wanted)
        case Publish():
            identifier = wanted.packet_id.to_bytes(2, "big") if wanted.qos else b""
            body = block(wanted.topic) + identifier + props(wanted.properties) + wanted.payload
            flags = wanted.qos << 1 | wanted.retain | wanted.dup << 3
            return packet(0x30 | flags, body)
        case PubAck():
            body = wanted.packet_id.to_bytes(2, "big")
            if version == V5 and (wanted.reason or wanted.properties):
                body += bytes([wanted.reason]) + props(wanted.properties)
            return packet(0x40, body)
        case Subscribe():
            wishes = b"".join(block(w.topic_filter) + bytes([w.qos]) for w in wanted.subscriptions)
            body = wanted.packet_id.to_bytes(2, "big") + props(wanted.properties) + wishes
            return packet(0x82, body)
        case Unsubscribe():
            body = wanted.packet_id.to_bytes(2, "big") + props(wanted.properties)
            return packet(0xA2, body + b"".join(map(block, wanted.topic_filters)))
        case PingReq():
            return packet(0xC0, b"")
        case Disconnect():
            if version != V5 or not (wanted.reason or wanted.properties):
                return packet(0xE0, b"")
            return packet(0xE0, bytes([wanted.reason]) + props(wanted.properties))


def _connect(wanted: Connect) -> bytes:
    v5 = wanted.version == V5
    flags = wanted.clean_start << 1
    tail = block(wanted.client_id)
    if wanted.will is not None:
        flags |= 4 | wanted.will.qos << 3 | wanted.will.retain << 5
        tail += properties(wanted.will.properties) if v5 else b""
        tail += block(wanted.will.topic) + block(wanted.will.payload)
    if wanted.user_name is not None:
        flags |= 0x80
        tail += block(wanted.user_name)
    if wanted.password is not None:
        flags |= 0x40
        tail += block(wanted.password)
    head = block("MQTT") + bytes([wanted.version, flags]) + wanted.keep_alive.to_bytes(2, "big")
    return packet(0x10, head + (properties(wanted.properties) if v5 else b"") + tail)


class FromServer(NamedTuple):
    """``kind`` is the packet type; ``codes`` are reason or return codes, as they come."""

    kind: int
    packet_id: int = 0
    codes: bytes = b""
    properties: Properties = NO_PROPERTIES
    session_present: bool = False
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    dup: bool = False


def decode(first: int, body: bytes, version: int) -> FromServer:
    kind, v5 = first >> 4, version == V5
    if kind == 3:
        return _publish(first, body, v5)
    assert first & 15 == 0
    if kind == 2:
        found = read_properties(body[2:])[0] if v5 else NO_PROPERTIES
        assert body[0] in (0, 1)
        return FromServer(kind, 0, body[1:2], found, session_present=body[0] == 1)
    if kind == 14:
        return FromServer(kind, 0, body[:1], read_properties(body[1:])[0])
    if kind == 13:
        assert not body
        return FromServer(kind)
    packet_id = int.from_bytes(body[:2], "big")
    rest = body[2:]
    if kind == 4:
        found = read_properties(rest[1:])[0] if len(rest) > 1 else NO_PROPERTIES
        return FromServer(kind, packet_id, rest[:1], found)
    assert kind in (9, 11)
    found, rest = read_properties(rest) if v5 else (NO_PROPERTIES, rest)
    return FromServer(kind, packet_id, rest, found)


def _publish(first: int, body: bytes, v5: bool) -> FromServer:
    qos, end = first >> 1 & 3, 2 + int.from_bytes(body[:2], "big")
    topic, rest = body[2:end].decode(), body[end:]
    packet_id = 0
    if qos:
        packet_id, rest = int.from_bytes(rest[:2], "big"), rest[2:]
    found, rest = read_properties(rest) if v5 else (NO_PROPERTIES, rest)
    dup = first & 8 != 0
    return FromServer(3, packet_id, properties=found, topic=topic, payload=rest, qos=qos, dup=dup)


def read_properties(data: bytes) -> tuple[Properties, bytes]:
    size, data = _variable(data)
    mine, rest = data[:size], data[size:]
    assert len(mine) == size
    found: dict[int, PropertyValue] = {}
    while mine:
        id_, mine = _variable(mine)
        kind = PROPERTY_TYPES[id_]
        assert id_ not in found
        if kind in WIDTHS:
            found[id_], mine = int.from_bytes(mine[: WIDTHS[kind]], "big"), mine[WIDTHS[kind] :]
        else:
            end = 2 + int.from_bytes(mine[:2], "big")
            found[id_], mine = mine[2:end].decode(), mine[end:]
    return found, rest


def _variable(data: bytes) -> tuple[int, bytes]:
    value = 0
    for index, byte in enumerate(data):
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, data[index + 1 :]
    raise AssertionError("an unfinished number")


class RawClient:
    """A client of bytes that acknowledges nothing by itself and waits for what it is told to."""

    def __init__(
        self, address: str, version: int = V311, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._address = address
        self._tls = tls
        self.version = version

    async def open(self) -> "RawClient":
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port), ssl=self._tls)
        return self

    async def connect(
        self, token: str | None, client_id: str = "client", keep_alive: int = 60
    ) -> FromServer:
        self.send(Connect(self.version, client_id, True, keep_alive, token))
        return await self.receive()

    def send(self, *packets: FromClient) -> None:
        self.send_bytes(b"".join(encode(p, self.version) for p in packets))

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def publish(
        self, packet_id: int, payload: bytes | str, topic: str = "v1/devices/me/telemetry"
    ) -> None:
        raw = payload.encode() if isinstance(payload, str) else payload
        self.send(Publish(topic, raw, 1 if packet_id else 0, packet_id))

    async def receive(self, seconds: float = 5) -> FromServer:
        async with asyncio.timeout(seconds):
            first = (await self._reader.readexactly(1))[0]
            size = shift = 0
            while True:
                byte = (await self._reader.readexactly(1))[0]
                size |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            return decode(first, await self._reader.readexactly(size), self.version)

    async def acknowledged(self, count: int) -> Sequence[int]:
        """Identifiers of the next ``count`` PUBACKs, in their order."""
        found = [await self.receive() for _ in range(count)]
        assert {ack.kind for ack in found} <= {4}
        return [ack.packet_id for ack in found]

    async def closed(self, seconds: float = 5) -> bool:
        """Whether the server closes without another byte."""
        async with asyncio.timeout(seconds):
            return not await self._reader.read(1)

    async def silent(self) -> None:
        """Everything sent so far was read by the server, and no answer but this one came."""
        self.send(PingReq())
        assert (await self.receive()).kind == 13

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
