"""Values in SQLite: one column for the value, one for its kind."""

import json
from typing import Any

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

VALUE_SQL = f"CASE kind WHEN {Kind.DOUBLE.value} THEN printf('%!.20e', value) ELSE value END"
"""A value as JSON takes it. SQLite's own JSON rounds doubles to 15 digits: 21 digits of
text bring back the very same double."""


def exact_double(sql: str) -> str:
    """A double, or null, as JSON takes it."""
    return f"CASE WHEN {sql} IS NOT NULL THEN printf('%!.20e', {sql}) END"


Stored = int | float | str


def cell_of(value: Value) -> tuple[int, Stored]:
    """Kind and cell. Raises Unstorable."""
    kind = type(value)
    if kind is int and MIN_LONG <= value <= MAX_LONG:  # type: ignore[operator]
        return 2, value  # type: ignore[return-value]
    return _cell_of(value)


def _cell_of(value: Value) -> tuple[int, Stored]:
    kind = kind_of(value)
    if isinstance(value, bool):
        return kind, int(value)
    if isinstance(value, int):
        return kind, check_long(value)
    if isinstance(value, float):
        return kind, check_double(value)
    text = value if isinstance(value, str) else json_text(value)
    text_bytes(text)
    return kind, text


def value_of(kind: int, shown: Any) -> Value:
    """The value that VALUE_SQL gave."""
    if kind == Kind.BOOL:
        return bool(shown)
    if kind == Kind.DOUBLE:
        return float(shown)
    value: Value = json.loads(shown) if kind == Kind.JSON else shown
    return value
