"""Packets to a client as bytes: no I/O. A 3.1.1 client gets neither reasons nor properties."""

from collections.abc import Sequence

from edgeferry.gateway.mqtt.packets import NO_PROPERTIES, V5, Kind, Properties, Reason
from edgeferry.gateway.mqtt.wire import string, variable, write_properties

PINGRESP = bytes((Kind.PINGRESP << 4, 0))

_CONNACK_311 = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_VERSION: 1,
    Reason.CLIENT_ID_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.SERVER_BUSY: 3,
    Reason.QUOTA_EXCEEDED: 3,
}
_NOT_AUTHORIZED_311 = 5
_SUBACK_FAILURE_311 = 0x80


def connack(
    version: int,
    reason: Reason,
    properties: Properties = NO_PROPERTIES,
    *,
    session_present: bool = False,
) -> bytes:
    if version == V5:
        head = bytes((session_present, reason))
        return _packet(Kind.CONNACK, head + write_properties(properties))
    code = _CONNACK_311.get(reason, _NOT_AUTHORIZED_311)
    return _packet(Kind.CONNACK, bytes((session_present, code)))


def publish(
    version: int, topic: str, payload: bytes, qos: int = 0, packet_id: int = 0, *, dup: bool = False
) -> bytes:
    """``packet_id`` stands in it with QoS 1 only."""
    body = string(topic)
    if qos:
        body += packet_id.to_bytes(2, "big")
    if version == V5:
        body += write_properties(NO_PROPERTIES)
    size = variable(len(body) + len(payload))
    return bytes((Kind.PUBLISH << 4 | dup << 3 | qos << 1,)) + size + body + payload


def puback(
    version: int,
    packet_id: int,
    reason: Reason = Reason.SUCCESS,
    properties: Properties = NO_PROPERTIES,
) -> bytes:
    if version != V5 or reason == Reason.SUCCESS:
        return b"\x40\x02%c%c" % (packet_id >> 8, packet_id & 0xFF)
    body = packet_id.to_bytes(2, "big") + bytes((reason,))
    return _packet(Kind.PUBACK, body + write_properties(properties) if properties else body)


def suback(version: int, packet_id: int, codes: Sequence[int]) -> bytes:
    """``codes``: granted QoS or a Reason, one for each wish."""
    if version != V5:
        codes = [code if code < _SUBACK_FAILURE_311 else _SUBACK_FAILURE_311 for code in codes]
    return _answer(Kind.SUBACK, version, packet_id, codes)


def unsuback(version: int, packet_id: int, codes: Sequence[int]) -> bytes:
    return _answer(Kind.UNSUBACK, version, packet_id, codes if version == V5 else ())


def disconnect(version: int, reason: Reason, properties: Properties = NO_PROPERTIES) -> bytes:
    """Nothing for a 3.1.1 client, whose server may not say why it closes."""
    if version != V5:
        return b""
    return _packet(Kind.DISCONNECT, bytes((reason,)) + write_properties(properties))


def _answer(kind: Kind, version: int, packet_id: int, codes: Sequence[int]) -> bytes:
    head = packet_id.to_bytes(2, "big")
    if version == V5:
        head += write_properties(NO_PROPERTIES)
    return _packet(kind, head + bytes(codes))


def _packet(kind: Kind, body: bytes) -> bytes:
    return bytes((kind << 4,)) + variable(len(body)) + body
