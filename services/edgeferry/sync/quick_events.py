"""Reads the one kind of event that comes by the thousand: plain telemetry.

fastavro spends 14 us on such an event, most of it in the unions of its values; this takes
half. Whatever is out of the ordinary is left to the codec, which alone says what is wrong:
another schema, another body, arrays in sized blocks, bytes missing or left over.
"""

import struct
from typing import Any, NamedTuple

import orjson

from edgeferry.log.schemas import newest_id

_DOUBLE = struct.Struct("<d")
_SET = 2
"""The byte of a union [null, T] that is not null."""

_NO_OTHER_BODY = bytes(5)
"""attributes, attribute_keys, rpc, alarm, entity: all null."""


class EventHead(NamedTuple):
    """What messages take over from an event, whatever its body."""

    id: str
    stamp: int
    entity_type: str
    entity_id: str
    entity_name: str
    entity_profile: str


class Telemetry(NamedTuple):
    """``points``: each timestamp (ms) with its values, as orjson takes them."""

    action: str
    head: EventHead
    points: list[tuple[int, dict[str, Any]]]


_PREFIX = struct.pack(">bI", 0, newest_id("CloudEvent"))


def json_fragment(text: str) -> orjson.Fragment:
    """A value that is JSON already, unchanged. Raises ValueError when it is not."""
    orjson.loads(text)
    return orjson.Fragment(text)


def read_telemetry(data: bytes | None) -> Telemetry | None:
    """None when it is anything else, or may be."""
    if data is None or not data.startswith(_PREFIX):
        return None
    try:
        return _event(data, len(_PREFIX))
    except (IndexError, ValueError, struct.error):
        return None


def _event(data: bytes, at: int) -> Telemetry | None:
    id_, at = _string(data, at)
    _, at = _long(data, at)  # created_time
    stamp, at = _long(data, at)
    _, at = _string(data, at)  # tenant_id
    action, at = _string(data, at)
    _, at = _string(data, at)  # type
    entity_type, at = _string(data, at)
    entity_id, at = _string(data, at)
    name, at = _string(data, at)
    profile, at = _string(data, at)
    if data[at] != _SET:
        return None
    count, at = _long(data, at + 1)
    if count <= 0:
        return None
    points = []
    for _ in range(count):
        ts, at = _long(data, at)
        values, at = _values(data, at)
        points.append((ts, values))
    if data[at] or data[at + 1 :] != _NO_OTHER_BODY:
        return None
    head = EventHead(id_, stamp, entity_type, entity_id, name, profile)
    return Telemetry(action, head, points)


def _values(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    count, at = _long(data, at)
    if count <= 0:
        raise ValueError
    values: dict[str, Any] = {}
    for _ in range(count):
        key, at = _string(data, at)
        values[key], at = _value(data, at)
    if data[at]:
        raise ValueError
    return values, at + 1


def _value(data: bytes, at: int) -> tuple[Any, int]:
    """Of bool_v, long_v, dbl_v, str_v, json_v exactly one is set."""
    value: Any
    for nulls_before in range(5):
        branch = data[at]
        at += 1
        if branch == 0:
            continue
        if branch != _SET:
            raise ValueError
        if nulls_before == 1:
            value, at = _long(data, at)
        elif nulls_before == 2:
            (value,) = _DOUBLE.unpack_from(data, at)
            at += 8
        elif nulls_before == 0:
            value = (False, True)[data[at]]
            at += 1
        else:
            value, at = _string(data, at)
            if nulls_before == 4:
                value = json_fragment(value)
        after = at + 4 - nulls_before
        if data[at:after] != _NO_OTHER_BODY[: 4 - nulls_before]:
            raise ValueError
        return value, after
    raise ValueError


def _string(data: bytes, at: int) -> tuple[str, int]:
    length = data[at]
    if not length & 0x81:  # in one byte, not negative: up to 63
        start = at + 1
        length >>= 1
    else:
        length, start = _long(data, at)
    end = start + length
    if length < 0 or end > len(data):
        raise ValueError
    return data[start:end].decode(), end


def _long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    number = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    if number >> 64:
        raise ValueError
    return (number >> 1) ^ -(number & 1), at
