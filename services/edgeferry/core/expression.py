"""Conditions and values written by people: a small, checked part of Python's expressions.

An expression reads ``msg`` (the body), ``metadata`` and ``msgType``. The text is parsed,
every node of its tree is checked against what stands in this file, and the tree is turned
into nested functions once; no text is ever run as a program. Length, size, depth and the
size of every result are bounded.

A field that is not there is null (also written ``None``). Null passes through arithmetic
and functions, and no order holds for it: ``msg.temperature > 20`` is false without a
temperature. ``==`` and ``!=`` compare with null as with any value.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from edgeferry.core.errors import Never

LENGTH_MAX: Final = 2_000
NODES_MAX: Final = 300
DEPTH_MAX: Final = 30
TEXT_MAX: Final = 65_536
"""Characters of a text that an expression may make."""
BITS_MAX: Final = 256
"""Bits of a whole number that an expression may make."""
EXPONENT_MAX: Final = 64
DIGITS_MAX: Final = 15
VARIABLES: Final = ("msg", "metadata", "msgType")


class InvalidExpression(ValueError):
    """The text is not an expression of this language; says what and where."""


class ExpressionFailed(Never):
    """The expression cannot be worked out for this message."""


class Names(NamedTuple):
    """What an expression reads. ``msg`` may be None when the expression does not use it."""

    msg: Any
    metadata: Mapping[str, str]
    msg_type: str


Step = Callable[[Names], Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. ``uses_msg`` tells whether the body has to be parsed for it."""

    text: str
    uses_msg: bool
    _step: Step = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Raises InvalidExpression."""
        tree = _parsed(text)
        uses_msg = any(isinstance(n, ast.Name) and n.id == "msg" for n in ast.walk(tree))
        return cls(text, uses_msg, _compile(tree))

    def value(self, names: Names) -> Any:
        """Raises ExpressionFailed."""
        try:
            return self._step(names)
        except ZeroDivisionError:
            raise ExpressionFailed("division by zero") from None
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise ExpressionFailed(str(error) or type(error).__name__) from None

    def holds(self, names: Names) -> bool:
        """True or false; null is false. Raises ExpressionFailed, also for other results."""
        result = self.value(names)
        if result is True or result is False:
            return bool(result)
        if result is None:
            return False
        raise ExpressionFailed(f"the expression gave {_kind(result)}, not true or false")


def _parsed(text: str) -> ast.expr:
    text = text.strip()
    if not text:
        raise InvalidExpression("the expression is empty")
    if len(text) > LENGTH_MAX:
        raise InvalidExpression(f"longer than {LENGTH_MAX} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # doubtful spellings, such as "\d", are errors here
            # In parentheses, as a condition may go over several lines.
            tree = ast.parse(f"({text}\n)", mode="eval").body
    except SyntaxError as error:
        raise InvalidExpression(_syntax_problem(text, error)) from None
    except (ValueError, MemoryError, RecursionError, Warning):
        raise InvalidExpression("not an expression: too deep, or with a null character") from None
    if (tree.lineno, tree.col_offset) == (1, 0):  # it closed the parenthesis that we opened
        raise InvalidExpression("not one expression: a parenthesis or a comma too many")
    _check_size(tree)
    return tree


def _syntax_problem(text: str, error: SyntaxError) -> str:
    for wrong, right in (("&&", "and"), ("||", "or"), ("===", "=="), ("!==", "!=")):
        if wrong in text:
            return f'write "{right}" for "{wrong}"'
    if text.startswith("return"):
        return 'leave out "return": the expression itself is the result'
    if ";" in text:
        return 'leave out ";": one expression is wanted'
    if re.search("![^=]", text):
        return 'write "not" for "!"'
    problem = error.msg.partition(". ")[0]
    line, column = error.lineno or 1, error.offset or 1
    if line > text.count("\n") + 1:  # in the line of the parenthesis that we put after it
        return f"not an expression: {problem} (at its end)"
    if line == 1:
        column = max(column - 1, 1)  # without the parenthesis that we put before it
    return f"not an expression: {problem} (line {line}, column {column})"


def _check_size(tree: ast.AST) -> None:
    level, count, depth = [tree], 0, 0
    while level:
        count += len(level)
        depth += 1
        if count > NODES_MAX or depth > DEPTH_MAX:
            raise InvalidExpression("too large: split it over several nodes of the chain")
        level = [
            child
            for node in level
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.expr)
        ]


# From the tree to functions. What is not named here is refused.


def _compile(node: ast.expr) -> Step:
    match node:
        case ast.Constant(value):
            return _constant(value)
        case ast.Name(id):
            return _name(id)
        case ast.Attribute(value, attr):
            return _attribute(value, attr)
        case ast.Subscript(value, index):
            return _subscript(value, index)
        case ast.BoolOp(op, values):
            return _bool_op(op, [_compile(v) for v in values])
        case ast.UnaryOp(op, operand):
            return _unary(op, _compile(operand))
        case ast.BinOp(left, op, right):
            return _binary(op, _compile(left), _compile(right))
        case ast.Compare(left, ops, comparators):
            return _compare(left, ops, comparators)
        case ast.IfExp(test, body, orelse):
            return _choice(_compile(test), _compile(body), _compile(orelse))
        case ast.List(elts) | ast.Tuple(elts):
            return _list(elts)
        case ast.Call():
            return _call(node)
        case _:
            raise InvalidExpression(f"{_construct(node)} is not allowed")


def _constant(value: object) -> Step:
    if type(value) not in (str, int, float, bool, type(None)):
        raise InvalidExpression(f"a constant of type {type(value).__name__} is not allowed")
    if type(value) is int and value.bit_length() > BITS_MAX:
        raise InvalidExpression("a number is too large")
    return lambda names: value


_CONSTANT_NAMES: Final = {"null": None, "true": True, "false": False}


def _name(name: str) -> Step:
    if name in _CONSTANT_NAMES:
        return _constant(_CONSTANT_NAMES[name])
    if name not in VARIABLES:
        raise InvalidExpression(f'unknown name "{name}"; there are {", ".join(VARIABLES)}')
    return operator.itemgetter(VARIABLES.index(name))


def _attribute(value: ast.expr, name: str) -> Step:
    if name.startswith("__"):
        raise InvalidExpression(f'a name may not begin with "__": {name}')
    if isinstance(value, ast.Name) and value.id in VARIABLES:
        # The common case, msg.key, without a call in between.
        index = VARIABLES.index(value.id)

        def field_of_variable(names: Names) -> Any:
            target = names[index]
            return target.get(name) if isinstance(target, dict) else _item(target, name)

        return field_of_variable
    target = _compile(value)
    return lambda names: _item(target(names), name)


def _subscript(value: ast.expr, index: ast.expr) -> Step:
    if isinstance(index, ast.Slice):
        raise InvalidExpression("a slice is not allowed")
    target, key = _compile(value), _compile(index)
    return lambda names: _item(target(names), key(names))


def _item(target: Any, key: Any) -> Any:
    """A field, or an element by its index; null where there is none."""
    if isinstance(target, Mapping):
        return target.get(key) if type(key) is str else None
    if isinstance(target, list | tuple | str) and type(key) is int:
        return target[key] if -len(target) <= key < len(target) else None
    return None


def _bool_op(op: ast.boolop, steps: list[Step]) -> Step:
    if len(steps) == 2:
        first, second = steps
        if isinstance(op, ast.And):
            return lambda names: first(names) and second(names)
        return lambda names: first(names) or second(names)
    stop_at = isinstance(op, ast.Or)

    def chain(names: Names) -> Any:
        result: Any = None
        for step in steps:
            result = step(names)
            if bool(result) is stop_at:
                break
        return result

    return chain


def _unary(op: ast.unaryop, operand: Step) -> Step:
    match op:
        case ast.Not():
            return lambda names: not operand(names)
        case ast.USub():
            return lambda names: _apply(operator.neg, operand(names))
        case ast.UAdd():
            return lambda names: _apply(operator.pos, operand(names))
        case _:
            raise InvalidExpression(f"the operator {type(op).__name__} is not allowed")


def _apply(function: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else function(_number(value))


def _choice(test: Step, body: Step, orelse: Step) -> Step:
    return lambda names: body(names) if test(names) else orelse(names)


def _list(elements: list[ast.expr]) -> Step:
    if all(isinstance(e, ast.Constant) for e in elements):
        fixed = [_compile(e)(_NOTHING) for e in elements]
        return lambda names: fixed
    steps = [_compile(e) for e in elements]
    return lambda names: [step(names) for step in steps]


_NOTHING: Final = Names(None, {}, "")


# Comparisons.


def _compare(left: ast.expr, ops: list[ast.cmpop], comparators: list[ast.expr]) -> Step:
    tests = [_comparison(op, right) for op, right in zip(ops, comparators, strict=True)]
    first = _compile(left)
    rights = [_compile(c) for c in comparators]
    if len(tests) == 1:
        test, right = tests[0], rights[0]
        return lambda names: test(first(names), right(names))

    def chain(names: Names) -> bool:
        value = first(names)
        for test, right in zip(tests, rights, strict=True):
            following = right(names)
            if not test(value, following):
                return False
            value = following
        return True

    return chain


def _comparison(op: ast.cmpop, right: ast.expr) -> Callable[[Any, Any], bool]:
    if isinstance(op, ast.Is | ast.IsNot):
        null = isinstance(right, ast.Constant) and right.value is None
        if not null and not (isinstance(right, ast.Name) and right.id == "null"):
            raise InvalidExpression('"is" is for None only: write ==')
    return _COMPARISONS[type(op)]


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        try:
            return compare(left, right)
        except TypeError:
            raise ExpressionFailed(
                f"{_kind(left)} and {_kind(right)} have no order: use float() or str()"
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
    raise ExpressionFailed(f'"in" wants a list, a text or an object, not {_kind(right)}')


_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
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


def _binary(op: ast.operator, left: Step, right: Step) -> Step:
    function = _ARITHMETIC.get(type(op))
    if function is None:
        raise InvalidExpression(f"the operator {type(op).__name__} is not allowed")

    def apply(names: Names) -> Any:
        a, b = left(names), right(names)
        if a is None or b is None:
            return None
        return function(a, b)

    return apply


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, str) and isinstance(b, str):
        if len(a) + len(b) > TEXT_MAX:
            raise ExpressionFailed(f"a text would be longer than {TEXT_MAX} characters")
        return a + b
    return _bounded(_number(a) + _number(b))


def _numeric(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda a, b: _bounded(function(_number(a), _number(b)))


def _power(a: Any, b: Any) -> Any:
    base, exponent = _number(a), _number(b)
    if abs(exponent) > EXPONENT_MAX:
        raise ExpressionFailed(f"an exponent above {EXPONENT_MAX} is not allowed")
    result = base**exponent
    if isinstance(result, complex):
        raise ExpressionFailed("a root of a negative number")
    return _bounded(result)


_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: _add,
    ast.Sub: _numeric(operator.sub),
    ast.Mult: _numeric(operator.mul),
    ast.Div: _numeric(operator.truediv),
    ast.FloorDiv: _numeric(operator.floordiv),
    ast.Mod: _numeric(operator.mod),
    ast.Pow: _power,
}


def _number(value: Any) -> Any:
    """Numbers only: no repeated texts or lists, no formatting by %. Operands are bounded
    as results are, so no operation can take long."""
    if type(value) is float:
        return value
    if type(value) is int:
        return _bounded(value)
    raise ExpressionFailed(f"arithmetic wants numbers, not {_kind(value)}: use float()")


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
        raise ExpressionFailed(f"len() wants a text, a list or an object, not {_kind(value)}")
    return len(value)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def extreme(*values: Any) -> Any:
        items = values[0] if len(values) == 1 and isinstance(values[0], list) else values
        if not items:
            return None
        return choose(_number(item) for item in items)

    return extreme


def _round(value: Any, digits: Any = None) -> Any:
    if digits is not None and not (type(digits) is int and abs(digits) <= DIGITS_MAX):
        raise ExpressionFailed(f"round() wants at most {DIGITS_MAX} digits")
    return round(_number(value), digits)


def _to_number(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def to_number(value: Any) -> Any:
        if isinstance(value, str) and len(value) > 100:
            raise ExpressionFailed("a text is too long for a number")
        if not isinstance(value, str | int | float):
            raise ExpressionFailed(f"{_kind(value)} is no number")
        return _bounded(convert(value))

    return to_number


def _to_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | float):
        return str(value)
    return str(_number(value))


def _text(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, str):
                raise ExpressionFailed(f"{name}() wants text, not {_kind(value)}")
        return function(*values)

    return apply


_FUNCTIONS: Final = {
    "len": _Function(_len, 1, 1),
    "abs": _Function(lambda value: abs(_number(value)), 1, 1),
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
_METHODS: Final = ("lower", "upper", "strip", "startswith", "endswith")


def _call(node: ast.Call) -> Step:
    if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
        raise InvalidExpression("functions take plain arguments only")
    arguments = list(node.args)
    match node.func:
        case ast.Name(name) if name in _FUNCTIONS:
            pass
        case ast.Attribute(value, name) if name in _METHODS:
            arguments.insert(0, value)
        case ast.Attribute(attr=name):
            raise InvalidExpression(f'unknown function ".{name}()"; there are {_listed(_METHODS)}')
        case ast.Name(name):
            raise InvalidExpression(f'unknown function "{name}()"; there are {_listed(_FUNCTIONS)}')
        case _:
            raise InvalidExpression("only a named function can be called")
    function = _FUNCTIONS[name]
    if not function.least <= len(arguments) <= function.most:
        raise InvalidExpression(f"{name}() has the wrong number of arguments")
    return _applied(function.call, [_compile(argument) for argument in arguments])


def _applied(function: Callable[..., Any], steps: list[Step]) -> Step:
    def apply(names: Names) -> Any:
        values = [step(names) for step in steps]
        return None if None in values else function(*values)

    return apply


def _listed(names: Any) -> str:
    return ", ".join(names)


def _kind(value: Any) -> str:
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


def _construct(node: ast.expr) -> str:
    names = {
        ast.Lambda: "a lambda",
        ast.JoinedStr: "an f-string",
        ast.NamedExpr: "an assignment",
        ast.Dict: "an object",
        ast.Set: "a set (write a list)",
        ast.Starred: "a star",
    }
    return names.get(type(node), "a comprehension or another construct than the listed ones")
