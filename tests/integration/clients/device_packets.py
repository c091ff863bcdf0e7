"""A broker's client made a device: its whole packets get a token and the topics of devices.

Packets that are not whole, which is what most cases are about, stay as they are.
"""

from typing import Final, NamedTuple

from tests.integration.clients.sequences import variable

FILTERS: Final = (
    b"v1/devices/me/attributes",
    b"v1/devices/me/attributes/response/+",
    b"v1/devices/me/rpc/request/+",
)
TELEMETRY: Final = b"v1/devices/me/telemetry"
READING: Final = b'{"t":1}'
CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)
_HAS_NAME: Final = 0x80
_HAS_PASSWORD: Final = 0x40
_HAS_WILL: Final = 0x04


class Broken(Exception):
    """The packet is not whole."""


class Packet(NamedTuple):
    """Of one packet: the first byte and what comes behind the remaining length."""

    first: int
    body: bytes

    @property
    def kind(self) -> int:
        return self.first >> 4


class Reader:
    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def rest(self) -> bytes:
        return self.data[self.at :]

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise Broken
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Broken

    def block(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))

    def properties(self, version: int) -> bytes:
        """With their length; nothing before MQTT 5."""
        if version != 5:
            return b""
        start = self.at
        self.take(self.number())
        return self.data[start : self.at]


def whole(data: bytes) -> Packet:
    """Raises Broken for anything but exactly one packet."""
    reader = Reader(data, 1)
    size = reader.number()
    if len(reader.rest) != size:
        raise Broken
    return Packet(data[0], reader.rest)


def packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + variable(len(body)) + body


def block(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def connect(client_id: str, version: int, token: str) -> bytes:
    name = b"MQIsdp" if version == 3 else b"MQTT"
    head = block(name) + bytes([version, _HAS_NAME | 2, 0, 60])
    properties = b"\0" if version == 5 else b""
    return packet(0x10, head + properties + block(client_id.encode()) + block(token.encode()))


def of_device(data: bytes, version: int, token: str) -> bytes:
    """The same from a device with this token, where the packet is whole."""
    try:
        found = whole(data)
        match found.kind:
            case 1:
                body = _connect(found.body, token)
            case 3:
                body = _publish(found, version)
            case 8:
                body = _filters(found.body, version, options=True)
            case 10:
                body = _filters(found.body, version, options=False)
            case _:
                return data
    except Broken:
        return data
    return packet(found.first, body)


def _connect(body: bytes, token: str) -> bytes:
    reader = Reader(body)
    reader.block()
    version, flags = reader.take(1)[0], reader.take(1)[0]
    at = reader.at - 1
    if flags & (_HAS_NAME | _HAS_PASSWORD | 1):
        return body
    reader.take(2)
    reader.properties(version)
    reader.block()
    if flags & _HAS_WILL:
        reader.properties(version)
        reader.block()
        reader.block()
    if reader.rest:
        raise Broken
    return body[:at] + bytes([flags | _HAS_NAME]) + body[at + 1 :] + block(token.encode())


def _publish(found: Packet, version: int) -> bytes:
    reader = Reader(found.body)
    topic = reader.block()
    identifier = reader.take(2) if found.first >> 1 & 3 else b""
    properties = reader.properties(version)
    if topic and not _is_plain(topic):
        raise Broken
    return block(TELEMETRY if topic else b"") + identifier + properties + READING


def _filters(body: bytes, version: int, *, options: bool) -> bytes:
    reader = Reader(body)
    out = reader.take(2) + reader.properties(version)
    wanted: list[bytes] = []
    while reader.rest:
        name = reader.block()
        if _is_plain(name):
            if name not in wanted:
                wanted.append(name)
            name = FILTERS[wanted.index(name) % len(FILTERS)]
        out += block(name) + (reader.take(1) if options else b"")
    return out


def _is_plain(topic: bytes) -> bool:
    """A name that the case is not about."""
    return topic.isalnum()
