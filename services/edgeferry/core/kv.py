"""Key-values: what telemetry and attributes are made of."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

Value = bool | int | float | str | list[object] | dict[str, object]
"""A long is an ``int``, a double a ``float``; lists and dicts are JSON values."""


class Scope(StrEnum):
    """Attribute scopes; the names are an interface."""

    CLIENT = "CLIENT_SCOPE"
    SHARED = "SHARED_SCOPE"
    SERVER = "SERVER_SCOPE"


class TsPoint(NamedTuple):
    """The values of one timestamp (ms)."""

    ts: int
    values: Mapping[str, Value]


class TsEntry(NamedTuple):
    """One stored value of one key."""

    key: str
    ts: int
    value: Value


class AttributeEntry(NamedTuple):
    """One stored attribute; ``last_update_ts`` in ms, ``version`` decides who wins."""

    key: str
    value: Value
    last_update_ts: int
    version: int
