"""What devices send: ThingsBoard's payload shapes and value rules (semantics 7.1).

A number is a long when it has no fraction and is not written with a decimal point (1 and
1e3 are longs, 1.0 a double); texts that are plain numbers count as numbers; what no long
or double holds exactly enough (above 64 bits, more than 16 decimals) is kept as text.

``parse_json`` keeps numbers as they were written. A faster parser may stand in for it
wherever it can lose nothing; the other functions take the documents of both.
"""

import json
import re
from decimal import Decimal
from math import isfinite
from typing import Final, Protocol

from edgeferry.core.errors import InvalidPayload, PayloadTooLarge
from edgeferry.core.kv import TsPoint, Value

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
MIN_TS_MS: Final = 100_000_000_000
"""March 1973: times given in seconds stay below it until the year 5138."""
MAX_TS_MS: Final = 4_102_444_800_000
"""The start of 2100: today's times in microseconds are above it."""

_LONG_DIGITS: Final = 19
_MAX_DECIMALS: Final = 16
_MAX_PLAIN_EXPONENT: Final = 400
_EXPONENT_DIGITS: Final = 6
_SHOWN: Final = 60
_PARSABLE: Final = re.compile(r"-?[0-9]*\.?[0-9]+")


class PayloadLimits(Protocol):
    """What one payload may hold (runtime.settings.LimitSettings has them)."""

    @property
    def payload_bytes(self) -> int: ...

    @property
    def keys_per_message(self) -> int:
        """Of one timestamp."""
        ...

    @property
    def key_length(self) -> int:
        """In characters."""
        ...

    @property
    def json_depth(self) -> int:
        """Objects and arrays within each other, the outermost counted."""
        ...


class Number(str):
    """A JSON number exactly as it was written."""

    __slots__ = ()


def parse_json(payload: bytes) -> object:
    """The document with every number as ``Number``. Raises InvalidPayload."""
    try:
        text = payload.decode()
        document: object = json.loads(
            text, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
        )
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise InvalidPayload(f"not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise InvalidPayload("not JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise InvalidPayload(f"not JSON: {error}") from None
    return document


def check_size(payload: bytes, limits: PayloadLimits) -> None:
    """Raises PayloadTooLarge."""
    if len(payload) > limits.payload_bytes:
        raise PayloadTooLarge(
            f"a payload of {len(payload)} bytes is above the limit of {limits.payload_bytes} bytes"
        )


def check_depth(document: object, limits: PayloadLimits) -> None:
    """Raises InvalidPayload when the document is nested deeper than allowed."""
    layer = [document]
    for _ in range(limits.json_depth):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return
    if any(isinstance(child, dict | list) for child in layer):
        raise InvalidPayload(f"nested deeper than {limits.json_depth} levels")


def telemetry_points(document: object, now_ms: int, limits: PayloadLimits) -> list[TsPoint]:
    """The points of ``{k: v}``, ``{ts, values}`` or an array of either, in their order.

    Without a ts of its own a point takes ``now_ms``. A point without values (empty, or
    nulls only) is left out. Raises InvalidPayload, saying what is wrong and where.
    """
    if type(document) is not list:
        points = [_point(document, now_ms, limits, "")]
    else:
        points = [
            _point(element, now_ms, limits, f"[{index}]") for index, element in enumerate(document)
        ]
    return [point for point in points if point.values]


def attribute_values(document: object, limits: PayloadLimits) -> dict[str, Value]:
    """The values of a flat object. Raises InvalidPayload."""
    return _values(document, limits, "")


def _point(document: object, now_ms: int, limits: PayloadLimits, where: str) -> TsPoint:
    if type(document) is dict and "ts" in document and "values" in document:
        ts = _timestamp(document["ts"], f"{where}.ts" if where else "ts")
        return TsPoint(
            ts, _values(document["values"], limits, f"{where}.values" if where else "values")
        )
    return TsPoint(now_ms, _values(document, limits, where))


def _values(document: object, limits: PayloadLimits, where: str) -> dict[str, Value]:
    if type(document) is not dict:
        raise InvalidPayload(f"{_at(where)}a JSON object is wanted, not {_kind(document)}")
    if len(document) > limits.keys_per_message:
        raise InvalidPayload(
            f"{_at(where)}{len(document)} keys are above the limit of {limits.keys_per_message}"
        )
    longest = limits.key_length
    values: dict[str, Value] = {}
    for key, value in document.items():
        if not key or len(key) > longest or key.isspace():
            raise InvalidPayload(f"{_at(where)}{_key_problem(key, longest)}")
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                raise InvalidPayload(f"{_at(where)}{key[:_SHOWN]!r} is {value}, which is no number")
        elif kind is int:
            if not LONG_MIN <= value <= LONG_MAX:
                value = str(value)
        elif kind is str:
            value = _cast(value)
        elif kind is Number:
            value = number_value(value)
        elif value is None:
            continue
        elif kind is not bool:
            value = _json_value(value)
        values[key] = value
    return values


def number_value(text: str) -> int | float | str:
    """The value of a JSON number as written: long, double, or text where neither holds it.

    Text is in plain notation unless the exponent is beyond 400, where it would be an
    attack on memory.
    """
    if "e" in text or "E" in text:
        return _exponent_value(text)
    point = text.find(".")
    if point < 0:
        digits = text.lstrip("-").lstrip("0")
        if len(digits) > _LONG_DIGITS:
            return str(text)
        value = int(text)
        return value if LONG_MIN <= value <= LONG_MAX else str(text)
    return _double(text) if len(text) - point - 1 <= _MAX_DECIMALS else str(text)


def _exponent_value(text: str) -> int | float | str:
    if len(text.lower().partition("e")[2]) > _EXPONENT_DIGITS:
        return str(text)
    decimal = Decimal(text)
    exponent = decimal.as_tuple().exponent
    assert isinstance(exponent, int)  # JSON knows neither NaN nor infinity
    if abs(exponent) > _MAX_PLAIN_EXPONENT:
        return str(text) if decimal else 0
    if decimal == decimal.to_integral_value():
        if decimal.adjusted() >= _LONG_DIGITS:
            return format(decimal, "f")
        value = int(decimal)
        return value if LONG_MIN <= value <= LONG_MAX else format(decimal, "f")
    return _double(text) if -exponent <= _MAX_DECIMALS else format(decimal, "f")


def _double(text: str) -> float | str:
    value = float(text)
    return value if isfinite(value) else str(text)


def _cast(text: str) -> int | float | str:
    return number_value(text) if _PARSABLE.fullmatch(text) else text


def _json_value(value: object) -> Value:
    """An object or array with plain numbers; those that would lose digits become text."""
    if type(value) is dict:
        return {key: _json_leaf(item) for key, item in value.items()}
    if type(value) is list:
        return [_json_leaf(item) for item in value]
    raise InvalidPayload(f"a value cannot be {_kind(value)}")


def _json_leaf(value: object) -> object:
    match value:
        case dict() | list():
            return _json_value(value)
        case Number():
            whole = not ("." in value or "e" in value or "E" in value)
            return number_value(value) if whole else _double(value)
        case bool():
            return value
        case int():
            return value if LONG_MIN <= value <= LONG_MAX else str(value)
        case _:
            return value


def _timestamp(value: object, where: str) -> int:
    """A time in ms, also written as text or with a fraction (which is cut off)."""
    number = _cast(value) if type(value) is str else value
    if isinstance(number, Number):
        number = number_value(number)
    if isinstance(number, str) and _PARSABLE.fullmatch(number):
        number = float(number)  # more decimals than a double keeps: they are cut off anyway
    if type(number) is float and isfinite(number):
        number = int(number)
    if type(number) is not int:
        shown = json.dumps(value)[:_SHOWN]
        raise InvalidPayload(f"{where}: a time in milliseconds is wanted, not {shown}")
    if MIN_TS_MS <= number < MAX_TS_MS:
        return number
    raise InvalidPayload(f"{where}: {_time_problem(number)}")


def _time_problem(ts: int) -> str:
    if ts < 0:
        reason = "it is negative"
    elif ts < MIN_TS_MS:
        seconds = ts * 1000 >= MIN_TS_MS
        reason = "it looks like seconds: multiply by 1000" if seconds else "it is too early"
    elif ts // 1000 < MAX_TS_MS:
        reason = "it looks like microseconds: divide by 1000"
    else:
        reason = "it is beyond the year 2100"
    return f"{str(ts)[:_SHOWN]} is no plausible time in milliseconds ({reason})"


def _key_problem(key: str, longest: int) -> str:
    if len(key) > longest:
        return (
            f"the key {key[:_SHOWN]!r}... has {len(key)} characters, above the limit of {longest}"
        )
    return "a key is blank"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float() | Number():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case _:
            return "an object"
