"""Rows in Cassandra's wire form, encoded once and joined to batches.

A batch message carries for each row: kind 1 (prepared), the statement's id, the number of
values, and each value behind its 4-byte length. What does not change for a (entity, key,
partition) is kept; the rest is a few joins. The driver's own binding costs ten times more.
"""

import struct
from collections.abc import Sequence
from typing import Any

from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType, PreparedStatement

from edgeferry.core.kv import Value
from edgeferry.store.values import (
    MAX_LONG,
    MIN_LONG,
    Kind,
    check_double,
    check_long,
    json_text,
    kind_of,
    text_bytes,
)

PROTOCOL_VERSION = 5
VALUE_COLUMNS = ("bool_v", "str_v", "long_v", "dbl_v", "json_v")
"""In the order of Kind."""

_BATCH = 0x0D
_PREPARED = b"\x01"
_WITH_TIMESTAMP = 0x20
_NULL = b"\xff\xff\xff\xff"
_NULLS_BEFORE = tuple(_NULL * kind for kind in range(5))
_NULLS_AFTER = tuple(_NULL * (4 - kind) for kind in range(5))
_TRUE = b"\x00\x00\x00\x01\x01"
_FALSE = b"\x00\x00\x00\x01\x00"

_pack_length = struct.Struct(">i").pack
_pack_long = struct.Struct(">iq").pack
_pack_double = struct.Struct(">id").pack
_pack_int = struct.Struct(">ii").pack

_BOOL, _STR, _LONG, _DOUBLE = (int(kind) for kind in (Kind.BOOL, Kind.STR, Kind.LONG, Kind.DOUBLE))


def text_field(data: bytes) -> bytes:
    return _pack_length(len(data)) + data


def long_field(value: int) -> bytes:
    return _pack_long(8, value)


def int_field(value: int) -> bytes:
    return _pack_int(4, value)


def value_field(value: Value) -> tuple[int, bytes]:
    """Kind and field. Raises Unstorable."""
    kind = type(value)
    if kind is float:
        if value - value == 0.0:  # type: ignore[operator]  # false for NaN and infinities
            return _DOUBLE, _pack_double(8, value)
    elif kind is int:
        if MIN_LONG <= value <= MAX_LONG:  # type: ignore[operator]
            return _LONG, _pack_long(8, value)
    elif kind is str:
        data = text_bytes(value)  # type: ignore[arg-type]
        return _STR, _pack_length(len(data)) + data
    elif kind is bool:
        return _BOOL, _TRUE if value else _FALSE
    return _rarer_field(value)


def _rarer_field(value: Value) -> tuple[int, bytes]:
    kind = kind_of(value)
    if isinstance(value, bool):
        return kind, _TRUE if value else _FALSE
    if isinstance(value, int):
        return kind, _pack_long(8, check_long(value))
    if isinstance(value, float):
        return kind, _pack_double(8, check_double(value))
    text = value if isinstance(value, str) else json_text(value)
    return kind, text_field(text_bytes(text))


def only(kind: int, field: bytes) -> bytes:
    """All five value columns: this one, and nulls."""
    return _NULLS_BEFORE[kind] + field + _NULLS_AFTER[kind]


def no_value() -> bytes:
    """All five value columns null."""
    return _NULL * 5


def boolean_field(value: bool) -> bytes:
    return _TRUE if value else _FALSE


def row_head(statement: PreparedStatement) -> bytes:
    """What a row of this statement starts with."""
    query_id: bytes = statement.query_id
    count = len(statement.column_metadata)
    return _PREPARED + struct.pack(">H", len(query_id)) + query_id + struct.pack(">H", count)


class RawRows(list[bytes]):
    """Rows of a batch that are encoded already."""


class RawRowsHandler(ProtocolHandler):  # type: ignore[misc]
    """The session's ``client_protocol_handler``: writes RawRows as they are."""

    @classmethod
    def encode_message(
        cls,
        msg: Any,
        stream_id: int,
        protocol_version: int,
        compressor: Any,
        allow_beta_protocol_version: bool,
    ) -> Any:
        if not (isinstance(msg, BatchMessage) and type(msg.queries) is RawRows):
            return super().encode_message(
                msg, stream_id, protocol_version, compressor, allow_beta_protocol_version
            )
        assert protocol_version == PROTOCOL_VERSION
        body = _batch_body(msg.queries, msg.consistency_level, msg.timestamp)
        head = struct.pack(">BBhBI", protocol_version, 0, stream_id, _BATCH, len(body))
        return head + body


def _batch_body(rows: RawRows, consistency: int, timestamp: int | None) -> bytes:
    head = struct.pack(">BH", BatchType.UNLOGGED.value, len(rows))
    if timestamp is None:
        tail = struct.pack(">HI", consistency, 0)
    else:
        tail = struct.pack(">HIq", consistency, _WITH_TIMESTAMP, timestamp)
    return b"".join((head, *rows, tail))


def batch_of(rows: Sequence[bytes]) -> BatchStatement:
    """An unlogged batch of encoded rows; safe to repeat."""
    batch = BatchStatement(batch_type=BatchType.UNLOGGED)
    batch._statements_and_parameters = RawRows(rows)
    batch.is_idempotent = True
    return batch
