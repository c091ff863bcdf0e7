"""Payload bytes to values and back to text, fast: orjson wherever it can lose nothing."""

import re

import orjson

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import TsPoint, Value
from edgeferry.core.values import (
    PayloadLimits,
    attribute_values,
    check_depth,
    check_size,
    parse_json,
    telemetry_points,
)

_WANTS_EXACT = re.compile(rb"[0-9](?:[eE]|[0-9]{16})").search
"""Numbers that orjson would round or whose notation it forgets: an exponent (1e3 is a long),
17 digits on end (above a long, or with more decimals than a double keeps)."""


def read_telemetry(payload: bytes, now_ms: int, limits: PayloadLimits) -> list[TsPoint]:
    """See ``core.values.telemetry_points``. Raises InvalidPayload."""
    return telemetry_points(read_document(payload, limits), now_ms, limits)


def read_attributes(payload: bytes, limits: PayloadLimits) -> dict[str, Value]:
    """See ``core.values.attribute_values``. Raises InvalidPayload."""
    return attribute_values(read_document(payload, limits), limits)


def to_text(values: object) -> str:
    """JSON that reads back as the same longs and doubles."""
    return orjson.dumps(values).decode()


def read_document(payload: bytes, limits: PayloadLimits) -> object:
    """Any JSON within the limits. Raises InvalidPayload."""
    check_size(payload, limits)
    if not payload:
        raise InvalidPayload("the payload is empty: JSON is wanted")
    document: object
    if _WANTS_EXACT(payload) is None:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise InvalidPayload(f"not JSON: {error}") from None
    else:
        document = parse_json(payload)
    if payload.count(b"{") + payload.count(b"[") > limits.json_depth:
        check_depth(document, limits)
    return document
