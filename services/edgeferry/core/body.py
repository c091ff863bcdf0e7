"""A message's body read as what its type says: key-values, points in time, keys.

The shapes are those of semantics 7.1. Every function raises InvalidPayload with a
reason for a person; none of them changes what it is given.
"""

from collections.abc import Mapping
from typing import Any, Final

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.message import RuleMessage

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
DEPTH_MAX: Final = 64
"""Levels of objects and arrays within one value."""
TS_MAX: Final = 253_402_300_799_999
"""The last millisecond of year 9999; in microseconds it still fits a long."""


def parsed(message: RuleMessage) -> Any:
    """The body as JSON."""
    try:
        return message.json
    except ValueError as error:
        raise InvalidPayload(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidPayload("the body is not JSON: nested too deeply") from None


def data_ts(message: RuleMessage) -> int:
    """The time of the data: metadata ``ts``, else the message's own (ms)."""
    try:
        ts = message.data_ts
    except ValueError:
        text = message.metadata["ts"][:40]
        raise InvalidPayload(f"metadata ts is not a whole number of ms: {text!r}") from None
    return plausible(ts)


def attribute_scope(message: RuleMessage, default: Scope) -> Scope:
    """Metadata ``scope`` if it is there."""
    text = message.metadata.get("scope")
    try:
        return Scope(text) if text else default
    except ValueError:
        raise InvalidPayload(
            f"metadata scope: {text!r:.60} is none of {', '.join(Scope)}"
        ) from None


def key_values(body: Any) -> dict[str, Value]:
    """A flat object. Nulls are left out, longs that do not fit 64 bits become text."""
    if type(body) is not dict:
        raise InvalidPayload(f"a JSON object is wanted, not {_kind(body)}")
    values: dict[str, Value] = {}
    for key, value in body.items():
        kind = type(value)
        if kind is float:
            if value - value != 0.0:  # NaN and the infinities, which json.loads lets pass
                raise InvalidPayload(f"{key[:80]}: {value} is not a number that JSON knows")
        elif kind is int:
            if not LONG_MIN <= value <= LONG_MAX:
                value = str(value)
        elif value is None:
            continue
        elif kind is str:
            if not value.isascii():
                _check_text(value, key)
        elif kind is not bool:
            _check_nested(value, key, DEPTH_MAX)
        if not key:
            raise InvalidPayload("a key is empty")
        if not key.isascii():
            _check_text(key, key)
        values[key] = value
    return values


def _check_text(text: str, key: str) -> None:
    """Half a surrogate pair, which JSON can spell, is no text that a store can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidPayload(f"{key[:80]!a}: the text is not valid Unicode") from None


def _check_nested(value: Any, key: str, depth: int) -> None:
    kind = type(value)
    if kind is str:
        _check_text(value, key)
    elif kind is float:
        if value - value != 0.0:
            raise InvalidPayload(f"{key[:80]}: {value} is not a number that JSON knows")
    elif kind is int:
        if not LONG_MIN <= value <= LONG_MAX:
            raise InvalidPayload(f"{key[:80]}: a whole number in it does not fit 64 bits")
    elif kind is list or kind is dict:
        if not depth:
            raise InvalidPayload(f"{key[:80]}: nested more than {DEPTH_MAX} deep")
        if kind is dict:
            for name in value:
                _check_text(name, key)
        for item in value.values() if kind is dict else value:
            _check_nested(item, key, depth - 1)


def points(body: Any, ts: int) -> list[TsPoint]:
    """Telemetry: ``{k: v}`` at ``ts``, ``{ts, values}``, or an array of either.

    Points without any value are left out; the order is kept.
    """
    if type(body) is dict and "values" not in body:
        values = key_values(body)
        return [TsPoint(ts, values)] if values else []
    items = body if type(body) is list else [body]
    found = []
    for item in items:
        point = _point(item, ts)
        if point.values:
            found.append(point)
    return found


def updated_points(body: Any, ts: int) -> list[TsPoint]:
    """Telemetry as a save through REST announces it: ``{"timeseries": [{ts, values}]}``;
    every other shape as ``points``."""
    if type(body) is dict and len(body) == 1 and type(body.get("timeseries")) is list:
        return points(body["timeseries"], ts)
    return points(body, ts)


def deleted_keys(body: Any) -> list[str]:
    """The keys of ``{"attributes": [key, ...]}``."""
    keys = body.get("attributes") if type(body) is dict else None
    if type(keys) is not list or not keys or not all(type(k) is str and k for k in keys):
        raise InvalidPayload('deleted attributes want {"attributes": [key, ...]}')
    for key in keys:
        _check_text(key, key)
    return keys


def _point(item: Any, ts: int) -> TsPoint:
    if type(item) is dict and "ts" in item and "values" in item:
        own_ts = item["ts"]
        if type(own_ts) is not int:
            raise InvalidPayload("ts: a whole number of ms is wanted")
        return TsPoint(plausible(own_ts), key_values(item["values"]))
    return TsPoint(ts, key_values(item))


def plausible(ts: int) -> int:
    """``ts`` itself."""
    if not 0 < ts <= TS_MAX:
        raise InvalidPayload(f"ts {ts} is not a plausible time in ms")
    return ts


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case _:
            return "an array"
