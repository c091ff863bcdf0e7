"""Which values a store takes, checked before anything is written."""

import json
from collections.abc import Iterable
from enum import IntEnum
from math import isfinite
from uuid import UUID

from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import Value
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import (
    Credentials,
    Entity,
    Rpc,
    RpcNews,
    TimeseriesDelete,
    VersionedAttribute,
)

MAX_VALUE_BYTES = 4 * 1024 * 1024
"""Cassandra refuses mutations of half a commit log segment (16 MiB) and slows down long
before; both stores keep the same limit."""

MAX_KEY_BYTES = 32 * 1024
"""A key is part of Cassandra's partition key, which may have 64 KiB altogether."""

MAX_TTL_SECONDS = 20 * 365 * 86_400
"""Cassandra's own limit."""

MIN_LONG = -(2**63)
MAX_LONG = 2**63 - 1


class Kind(IntEnum):
    """The five value columns, in the order of the tables."""

    BOOL = 0
    STR = 1
    LONG = 2
    DOUBLE = 3
    JSON = 4


def kind_of(value: Value) -> Kind:
    """Raises Unstorable for what is no value at all."""
    if isinstance(value, bool):
        return Kind.BOOL
    if isinstance(value, int):
        return Kind.LONG
    if isinstance(value, float):
        return Kind.DOUBLE
    if isinstance(value, str):
        return Kind.STR
    if isinstance(value, list | dict):
        return Kind.JSON
    raise Unstorable(f"a {type(value).__name__} is no value")


def check_long(value: int) -> int:
    if MIN_LONG <= value <= MAX_LONG:
        return value
    raise Unstorable(f"an integer of {value.bit_length()} bits does not fit 64")


def check_double(value: float) -> float:
    """NaN and the infinities have no JSON form and no order: refused."""
    if isfinite(value):
        return value
    raise Unstorable(f"{value} is not a finite number")


def text_bytes(text: str, limit: int = MAX_VALUE_BYTES) -> bytes:
    """UTF-8 of ``text``. Raises Unstorable when it is too long or holds half a character."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise Unstorable(f"text is not valid Unicode: {error.reason}") from None
    if len(data) > limit:
        raise Unstorable(f"text of {len(data)} bytes is above the limit of {limit}")
    return data


def key_bytes(key: str) -> bytes:
    """UTF-8 of a key. Raises Unstorable when it is empty or too long."""
    if not key:
        raise Unstorable("a key must not be empty")
    return text_bytes(key, MAX_KEY_BYTES)


def json_text(value: list[object] | dict[str, object]) -> str:
    """Compact JSON. Raises Unstorable for what JSON has no form for."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"value has no JSON form: {error}") from None


def entity_uuid(entity_id: str) -> UUID:
    """Entity ids are version-1 UUIDs, as Cassandra's timeuuid columns want, in their usual
    form (lower case, with hyphens), so that one entity has one name in every store."""
    try:
        parsed = UUID(entity_id)
    except ValueError:
        raise Unstorable(f"entity id {entity_id!r} is not a UUID") from None
    if str(parsed) != entity_id:
        raise Unstorable(f"entity id {entity_id!r} must be written {parsed}")
    if parsed.version != 1:
        raise Unstorable(f"entity id {entity_id} is not a version-1 UUID")
    return parsed


def check_writes(writes: Iterable[TimeseriesWrite]) -> None:
    """Numbers that no row can hold. Raises Unstorable with the write's index."""
    for index, (_, _, ts, stamp, _, ttl, _, _) in enumerate(writes):
        if 0 <= ts <= MAX_TS_MS and 0 <= stamp <= MAX_LONG and 0 <= ttl <= MAX_TTL_SECONDS:
            continue
        raise Unstorable(f"impossible numbers: ts {ts} ms, stamp {stamp}, ttl {ttl} s", index)


def check_entity(entity_type: str, entity_id: str) -> UUID:
    """Raises Unstorable for a name that none can have."""
    text_bytes(entity_type, MAX_KEY_BYTES)
    return entity_uuid(entity_id)


def check_delete(delete: TimeseriesDelete) -> None:
    """Raises Unstorable for what no store can hold."""
    check_entity(delete.entity_type, delete.entity_id)
    for key in delete.keys:
        key_bytes(key)
    numbers = (delete.start_ts, delete.end_ts, delete.stamp)
    if not all(-1 <= number <= MAX_LONG for number in numbers):
        raise Unstorable("impossible numbers: start {} ms, end {} ms, stamp {}".format(*numbers))


def check_change(change: VersionedAttribute) -> None:
    """All but the value. Raises Unstorable for what no store can hold."""
    check_entity(change.entity_type, change.entity_id)
    key_bytes(change.key)
    text_bytes(change.origin, MAX_KEY_BYTES)
    text_bytes(change.event_id, MAX_KEY_BYTES)
    text_bytes(change.source, MAX_KEY_BYTES)
    check_long(change.last_update_ts)
    if not 0 <= change.version <= MAX_LONG:
        raise Unstorable(f"impossible version {change.version}")


def check_row(row: Entity | Credentials | Rpc) -> None:
    """Raises Unstorable for what no store can hold: names are parts of keys."""
    cells: tuple[str | int, ...] = row
    for name, cell in zip(row._fields, cells, strict=True):
        if isinstance(cell, str):
            text_bytes(cell, MAX_VALUE_BYTES if name in _LONG_TEXTS else MAX_KEY_BYTES)
            if not cell and name in _KEYS:
                raise Unstorable(f"{name} must not be empty")
        elif not 0 <= cell <= MAX_LONG:
            raise Unstorable(f"impossible {name} {cell}")


def check_news(news: RpcNews) -> None:
    """Raises Unstorable for what no store can hold."""
    text_bytes(news.answer)
    text_bytes(news.event_id, MAX_KEY_BYTES)
    check_long(news.now_ms)


_KEYS = ("entity_type", "entity_id", "rpc_id", "device_id")
_LONG_TEXTS = ("additional_info", "body", "decisions", "request", "answer")


def is_storable(text: str) -> bool:
    """What is not, no store has."""
    try:
        text_bytes(text, MAX_KEY_BYTES)
    except Unstorable:
        return False
    return True


def token_of(credentials: Credentials) -> str:
    """Empty when they have none."""
    body = json.loads(credentials.body)
    token = body.get("credentialsId") if isinstance(body, dict) else None
    return token if isinstance(token, str) else ""
