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

from edgeferry.core.operations import (
    ARITHMETIC,
    BITS_MAX,
    COMPARISONS,
    FUNCTIONS,
    METHODS,
    ExpressionFailed,
    item,
    kind,
    number,
)

LENGTH_MAX: Final = 2_000
NODES_MAX: Final = 300
DEPTH_MAX: Final = 30
VARIABLES: Final = ("msg", "metadata", "msgType")


class InvalidExpression(ValueError):
    """The text is not an expression of this language; says what and where."""


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
        raise ExpressionFailed(f"the expression gave {kind(result)}, not true or false")


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
            return target.get(name) if isinstance(target, dict) else item(target, name)

        return field_of_variable
    target = _compile(value)
    return lambda names: item(target(names), name)


def _subscript(value: ast.expr, index: ast.expr) -> Step:
    if isinstance(index, ast.Slice):
        raise InvalidExpression("a slice is not allowed")
    target, key = _compile(value), _compile(index)
    return lambda names: item(target(names), key(names))


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
    return None if value is None else function(number(value))


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
    return COMPARISONS[type(op)]


def _binary(op: ast.operator, left: Step, right: Step) -> Step:
    function = ARITHMETIC.get(type(op))
    if function is None:
        raise InvalidExpression(f"the operator {type(op).__name__} is not allowed")

    def apply(names: Names) -> Any:
        a, b = left(names), right(names)
        if a is None or b is None:
            return None
        return function(a, b)

    return apply


def _call(node: ast.Call) -> Step:
    if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
        raise InvalidExpression("functions take plain arguments only")
    arguments = list(node.args)
    match node.func:
        case ast.Name(name) if name in FUNCTIONS:
            pass
        case ast.Attribute(value, name) if name in METHODS:
            arguments.insert(0, value)
        case ast.Attribute(attr=name):
            raise InvalidExpression(f'unknown function ".{name}()"; there are {_listed(METHODS)}')
        case ast.Name(name):
            raise InvalidExpression(f'unknown function "{name}()"; there are {_listed(FUNCTIONS)}')
        case _:
            raise InvalidExpression("only a named function can be called")
    function = FUNCTIONS[name]
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
