"""The data types of MQTT (1.5) on the wire, and the properties of MQTT 5 (2.2.2)."""

from collections.abc import Callable, Mapping
from typing import Final

from edgeferry.gateway.mqtt.packets import (
    NO_PROPERTIES,
    Kind,
    MqttError,
    Properties,
    Property,
    PropertyValue,
    Reason,
)

WILL: Final = 0
"""Stands for the will's properties where a packet type is asked for."""


def malformed(text: str) -> MqttError:
    return MqttError(Reason.MALFORMED_PACKET, text)


def protocol_error(text: str) -> MqttError:
    return MqttError(Reason.PROTOCOL_ERROR, text)


class Cursor:
    """Reads one packet's body; everything raises MqttError at its end."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, size: int) -> bytes:
        at, end = self.at, self.at + size
        if end > self.end:
            raise malformed("the packet ends within a field")
        self.at = end
        return self.data[at:end]

    def byte(self) -> int:
        return self.take(1)[0]

    def two_bytes(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def four_bytes(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if shift and not byte:
                    raise malformed("a variable byte integer has more bytes than it needs")
                return value
        raise malformed("a variable byte integer has more than 4 bytes")

    def binary(self) -> bytes:
        return self.take(self.two_bytes())

    def string(self) -> str:
        return utf8(self.binary())

    def string_pair(self) -> tuple[str, str]:
        return self.string(), self.string()

    def rest(self) -> bytes:
        return self.take(self.end - self.at)

    def done(self) -> None:
        if self.at != self.end:
            raise malformed(f"{self.end - self.at} bytes after the end of the packet")

    def packet_id(self) -> int:
        value = self.two_bytes()
        if not value:
            raise protocol_error("the packet identifier is 0")
        return value


def utf8(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"text is not UTF-8: {error.reason}") from None
    if "\0" in text:
        raise malformed("text holds the character U+0000")
    return text


def topic_name(data: bytes) -> str:
    topic = utf8(data)
    if "+" in topic or "#" in topic:
        raise malformed("a topic name holds a wildcard")
    return topic


def topic_filter(cursor: Cursor) -> str:
    text = cursor.string()
    if not text:
        raise malformed("a topic filter is empty")
    return text


def _response_topic(cursor: Cursor) -> str:
    topic = cursor.string()
    if not topic or "+" in topic or "#" in topic:
        raise protocol_error("a response topic is a name without wildcards")
    return topic


def variable(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _write_byte(value: int) -> bytes:
    return value.to_bytes(1, "big")


def _write_two(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _write_four(value: int) -> bytes:
    return value.to_bytes(4, "big")


_P = Property
_RECEIVED: Final[Mapping[int, tuple[Callable[[Cursor], PropertyValue], frozenset[int]]]] = {
    _P.PAYLOAD_FORMAT: (Cursor.byte, frozenset({Kind.PUBLISH, WILL})),
    _P.MESSAGE_EXPIRY: (Cursor.four_bytes, frozenset({Kind.PUBLISH, WILL})),
    _P.CONTENT_TYPE: (Cursor.string, frozenset({Kind.PUBLISH, WILL})),
    _P.RESPONSE_TOPIC: (_response_topic, frozenset({Kind.PUBLISH, WILL})),
    _P.CORRELATION_DATA: (Cursor.binary, frozenset({Kind.PUBLISH, WILL})),
    _P.SUBSCRIPTION_IDENTIFIER: (Cursor.variable, frozenset({Kind.SUBSCRIBE})),
    _P.SESSION_EXPIRY: (Cursor.four_bytes, frozenset({Kind.CONNECT, Kind.DISCONNECT})),
    _P.AUTHENTICATION_METHOD: (Cursor.string, frozenset({Kind.CONNECT})),
    _P.AUTHENTICATION_DATA: (Cursor.binary, frozenset({Kind.CONNECT})),
    _P.REQUEST_PROBLEM_INFORMATION: (Cursor.byte, frozenset({Kind.CONNECT})),
    _P.WILL_DELAY: (Cursor.four_bytes, frozenset({WILL})),
    _P.REQUEST_RESPONSE_INFORMATION: (Cursor.byte, frozenset({Kind.CONNECT})),
    _P.REASON_STRING: (Cursor.string, frozenset({Kind.PUBACK, Kind.DISCONNECT})),
    _P.RECEIVE_MAXIMUM: (Cursor.two_bytes, frozenset({Kind.CONNECT})),
    _P.TOPIC_ALIAS_MAXIMUM: (Cursor.two_bytes, frozenset({Kind.CONNECT})),
    _P.TOPIC_ALIAS: (Cursor.two_bytes, frozenset({Kind.PUBLISH})),
    _P.MAXIMUM_PACKET_SIZE: (Cursor.four_bytes, frozenset({Kind.CONNECT})),
}
_USER_PROPERTIES_IN: Final = frozenset(
    {Kind.CONNECT, Kind.PUBLISH, WILL, Kind.PUBACK, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE}
    | {Kind.DISCONNECT}
)
_FLAGS: Final = frozenset(
    {_P.PAYLOAD_FORMAT, _P.REQUEST_PROBLEM_INFORMATION, _P.REQUEST_RESPONSE_INFORMATION}
)
_NOT_ZERO: Final = frozenset(
    {_P.RECEIVE_MAXIMUM, _P.MAXIMUM_PACKET_SIZE, _P.SUBSCRIPTION_IDENTIFIER}
)
_WRITERS: Final[Mapping[int, Callable[..., bytes]]] = {
    _P.SESSION_EXPIRY: _write_four,
    _P.ASSIGNED_CLIENT_IDENTIFIER: string,
    _P.REASON_STRING: string,
    _P.RECEIVE_MAXIMUM: _write_two,
    _P.TOPIC_ALIAS_MAXIMUM: _write_two,
    _P.MAXIMUM_QOS: _write_byte,
    _P.MAXIMUM_PACKET_SIZE: _write_four,
    _P.SUBSCRIPTION_IDENTIFIER_AVAILABLE: _write_byte,
    _P.SHARED_SUBSCRIPTION_AVAILABLE: _write_byte,
}
"""What a client may send, by packet type; what we send."""


def read_properties(cursor: Cursor, kind: int) -> Properties:
    """The properties of a packet of this type (or ``WILL``) from a client."""
    length = cursor.variable()
    if not length:
        return NO_PROPERTIES
    inner = Cursor(cursor.data, cursor.at, cursor.at + length)
    cursor.take(length)
    found: dict[int, PropertyValue] = {}
    pairs: list[tuple[str, str]] = []
    while inner.at < inner.end:
        id_ = inner.variable()
        if id_ == Property.USER_PROPERTY and kind in _USER_PROPERTIES_IN:
            pairs.append(inner.string_pair())
            found[id_] = pairs
            continue
        reader, packets = _RECEIVED.get(id_, (None, frozenset()))
        if reader is None or kind not in packets:
            raise malformed(f"property {id_} does not belong in this packet")
        if id_ in found:
            raise protocol_error(f"property {id_} stands twice")
        value = reader(inner)
        if (id_ in _FLAGS and value not in (0, 1)) or (id_ in _NOT_ZERO and value == 0):
            raise protocol_error(f"property {id_} may not be {value!r}")
        found[id_] = value
    return found


def write_properties(properties: Properties) -> bytes:
    """Length and properties of a packet that we send."""
    body = b"".join(variable(id_) + _WRITERS[id_](value) for id_, value in properties.items())
    return variable(len(body)) + body
