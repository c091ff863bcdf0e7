"""Rows of attributes in Cassandra's wire form."""

from collections.abc import Callable
from typing import TypeVar

from edgeferry.core.errors import Unstorable
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import VersionedAttribute
from edgeferry.store.cassandra_cache import entity_prefix
from edgeferry.store.cassandra_rows import (
    boolean_field,
    long_field,
    no_value,
    only,
    text_field,
    value_field,
)
from edgeferry.store.values import MAX_KEY_BYTES, check_change, check_long, key_bytes, text_bytes

Encoded = TypeVar("Encoded")


def encode_write(index: int, write: AttributesWrite) -> dict[str, bytes]:
    """Key -> its row without head and timestamp. Raises Unstorable with the index."""

    def encoded() -> dict[str, bytes]:
        prefix = entity_prefix(write.entity_type, write.entity_id)
        prefix += text_field(str(write.scope).encode())
        end = long_field(check_long(write.last_update_ts)) + long_field(check_long(write.version))
        end += text_field(text_bytes(write.origin, MAX_KEY_BYTES)) + boolean_field(False)
        return {
            key: prefix + text_field(key_bytes(key)) + only(*value_field(value)) + end
            for key, value in write.values.items()
        }

    return _with_index(index, encoded)


def encode_change(index: int, change: VersionedAttribute) -> bytes:
    """Its row without head, decisions and timestamp. Raises Unstorable with the index."""

    def encoded() -> bytes:
        check_change(change)
        value = change.value
        parts = (
            entity_prefix(change.entity_type, change.entity_id),
            text_field(str(change.scope).encode()),
            text_field(key_bytes(change.key)),
            no_value() if value is None else only(*value_field(value)),
            long_field(change.last_update_ts),
            long_field(change.version),
            text_field(change.origin.encode()),
            boolean_field(value is None),
        )
        return b"".join(parts)

    return _with_index(index, encoded)


def _with_index(index: int, encode: Callable[[], Encoded]) -> Encoded:
    try:
        return encode()
    except Unstorable as error:
        raise Unstorable(str(error), index) from None
