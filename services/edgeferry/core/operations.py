"""What expressions do with values: fields, comparisons, arithmetic, functions.

Every result is bounded, whatever the operands: numbers by BITS_MAX, texts by TEXT_MAX.
What cannot be done raises ExpressionFailed (or one of Python's own errors for numbers,
which ``core.expression`` turns into it), with a reason for a person.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from edgeferry.core.errors import Never

TEXT_MAX: Final = 65_536
"""Characters of a text that an expression may make."""
BITS_MAX: Final = 256
"""Bits of a whole number that an expression may make."""
EXPONENT_MAX: Final = 64
DIGITS_MAX: Final = 15


class ExpressionFailed(Never):
    """The expression cannot be worked out for this message."""


def kind(value: Any) -> str:
    """What a value is, in words for a person."""
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
            return "a list"


def item(target: Any, key: Any) -> Any:
    """A field, or an element by its index; null where there is none."""
    if isinstance(target, Mapping):
        return target.get(key) if type(key) is str else None
    if isinstance(target, list | tuple | str) and type(key) is int:
        return target[key] if -len(target) <= key < len(target) else None
    return None


# Comparisons.


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        try:
            return compare(left, right)
        except TypeError:
            raise ExpressionFailed(
                f"{kind(left)} and {kind(right)} have no order: use float() or str()"
            ) from None

    return test


def _contains(left: Any, right: Any) -> bool:
    if right is None:
        return False
    if isinstance(right, str):
        return isinstance(left, str) and left in right
    if isinstance(right, Mapping):
        return isinstance(left, str) and left in right
    if isinstance(right, list | tuple):
        return left in right
    raise ExpressionFailed(f'"in" wants a list, a text or an object, not {kind(right)}')


COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _contains,
    ast.NotIn: lambda left, right: not _contains(left, right),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


# Arithmetic.


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, str) and isinstance(b, str):
        if len(a) + len(b) > TEXT_MAX:
            raise ExpressionFailed(f"a text would be longer than {TEXT_MAX} characters")
        return a + b
    return _bounded(number(a) + number(b))


def _numeric(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: _bounded(function(number(a), number(b)))


def _power(a: Any, b: Any) -> Any:
    base, exponent = number(a), number(b)
    if abs(exponent) > EXPONENT_MAX:
        raise ExpressionFailed(f"an exponent above {EXPONENT_MAX} is not allowed")
    result = base**exponent
    if isinstance(result, complex):
        raise ExpressionFailed("a root of a negative number")
    return _bounded(result)


ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: _add,
    ast.Sub: _numeric(operator.sub),
    ast.Mult: _numeric(operator.mul),
    ast.Div: _numeric(operator.truediv),
    ast.FloorDiv: _numeric(operator.floordiv),
    ast.Mod: _numeric(operator.mod),
    ast.Pow: _power,
}


def number(value: Any) -> Any:
    """Numbers only: no repeated texts or lists, no formatting by %. Operands are bounded
    as results are, so no operation can take long."""
    if type(value) is float:
        return value
    if type(value) is int:
        return _bounded(value)
    raise ExpressionFailed(f"arithmetic wants numbers, not {kind(value)}: use float()")


def _bounded(value: Any) -> Any:
    if type(value) is int and value.bit_length() > BITS_MAX:
        raise ExpressionFailed("a number became too large")
    return value


# Functions: by name, or after a dot: lower(x) and x.lower() are the same.


class _Function(NamedTuple):
    call: Callable[..., Any]
    least: int
    most: int


def _len(value: Any) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        raise ExpressionFailed(f"len() wants a text, a list or an object, not {kind(value)}")
    return len(value)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        items = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if not items:
            return None
        return choose(number(item) for item in items)

    return extreme


def _round(value: Any, digits: Any = None) -> Any:
    if digits is not None and not (type(digits) is int and abs(digits) <= DIGITS_MAX):
        raise ExpressionFailed(f"round() wants at most {DIGITS_MAX} digits")
    return round(number(value), digits)


def _to_number(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def to_number(value: Any) -> Any:
        if isinstance(value, str) and len(value) > 100:
            raise ExpressionFailed("a text is too long for a number")
        if not isinstance(value, str | int | float):
            raise ExpressionFailed(f"{kind(value)} is no number")
        return _bounded(convert(value))

    return to_number


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | float):
        return str(value)
    return str(number(value))


def _text(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, str):
                raise ExpressionFailed(f"{name}() wants text, not {kind(value)}")
        return function(*values)

    return apply


FUNCTIONS: Final = {
    "len": _Function(_len, 1, 1),
    "abs": _Function(lambda value: abs(number(value)), 1, 1),
    "min": _Function(_extreme(min), 1, 20),
    "max": _Function(_extreme(max), 1, 20),
    "round": _Function(_round, 1, 2),
    "int": _Function(_to_number(int), 1, 1),
    "float": _Function(_to_number(float), 1, 1),
    "str": _Function(_to_text, 1, 1),
    "lower": _Function(_text("lower", str.lower), 1, 1),
    "upper": _Function(_text("upper", str.upper), 1, 1),
    "strip": _Function(_text("strip", str.strip), 1, 2),
    "startswith": _Function(_text("startswith", str.startswith), 2, 2),
    "endswith": _Function(_text("endswith", str.endswith), 2, 2),
}
METHODS: Final = ("lower", "upper", "strip", "startswith", "endswith")
