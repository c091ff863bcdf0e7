"""The expression language under any text: nothing gets through, and arithmetic is Python's."""

import ast
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.core.expression import InvalidExpression
from edgeferry.core.operations import ExpressionFailed
from tests.unit.core.expressions import value

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">", "<=", ">="]
WORDS = [
    *[
        "msg",
        "metadata",
        "msgType",
        "null",
        "true",
        "None",
        "and",
        "or",
        "not",
        "in",
        "is",
        "if",
        "else",
        "lambda",
        "for",
    ],
    *[
        "__class__",
        "__import__",
        "len",
        "lower",
        "max",
        "round",
        "str",
        "int",
        "float",
        "open",
        "eval",
        ".lower(",
        ".get(",
    ],
    *OPERATORS,
    *(
        [
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ".",
            ":",
            ":=",
            "@",
            "&",
            "|",
            "~",
            "\\",
            "'",
            '"',
            "#",
            ";",
            "0",
            "1",
            "2.5",
            "1e308",
        ]
    ),
    *["msg.temperature", "metadata.level", '"text"', "99999999999", " ", "\n", "\x00", "é"],
]
texts = st.lists(st.sampled_from(WORDS), max_size=25).map("".join) | st.text(
    alphabet=string.printable, max_size=60
)


class Refused(str):
    """Why a text is no expression."""


class Failed(str):
    """Why an expression has no value."""


def outcome(text: str) -> Any:
    """The value; nothing but these two errors may come out of the language."""
    try:
        return value(text)
    except InvalidExpression as error:
        return Refused(error)
    except ExpressionFailed as error:
        return Failed(error)


@settings(max_examples=400, deadline=None)
@given(texts)
def test_any_text_is_refused_or_gives_a_plain_value(text: str) -> None:
    result = outcome(text)
    plain = type(result) in (str, int, float, bool, type(None), list, dict)
    assert plain or (isinstance(result, Refused | Failed) and result)


leaves = st.sampled_from(
    [
        *[
            "msg.temperature",
            "msg.count",
            "msg.missing",
            "metadata.level",
            "msgType",
            "msg.tags",
            "msg.inner",
        ],
        *["5", "2.5", "0", "-1", '"x"', "true", "null", "1e300", "99999999999999999999"],
    ]
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda a, op, b: f"({a} {op} {b})",
            inner,
            st.sampled_from([*OPERATORS, "in", "and", "or"]),
            inner,
        ),
        st.builds(
            lambda f, a: f"{f}({a})",
            st.sampled_from(["len", "abs", "int", "float", "str", "lower"]),
            inner,
        ),
        st.builds(lambda a, b: f"max({a}, {b})", inner, inner),
        st.builds(lambda a, b, c: f"({a} if {b} else {c})", inner, inner, inner),
        st.builds(lambda a: f"(not {a})", inner),
        st.builds(lambda a: f"{a}.name", inner.filter(lambda a: not a[-1].isdigit())),
        st.builds(lambda a, b: f"({a})[{b}]", inner, inner),
    ),
    max_leaves=20,
)


@settings(max_examples=400, deadline=None)
@given(trees)
def test_a_sound_expression_gives_a_value_or_says_why_not(text: str) -> None:
    result = outcome(text)
    if isinstance(result, Refused):
        assert "too large" in result or "number of arguments" in result


arithmetic = st.recursive(
    st.integers(0, 50).map(str) | st.sampled_from(["2.5", "0.1"]),
    lambda inner: st.builds(
        lambda a, op, b: f"({a} {op} {b})",
        inner,
        st.sampled_from(
            ["+", "-", "*", "/", "//", "%", "==", "!=", "<", ">", "<=", ">=", "and", "or"]
        ),
        inner,
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(arithmetic)
def test_arithmetic_is_pythons(text: str) -> None:
    """The language is a part of Python's: the same text has the same value there."""
    names: dict[str, Any] = {"__builtins__": {}}
    try:
        wanted = eval(compile(ast.parse(text, mode="eval"), "test", "eval"), names)
    except ZeroDivisionError:
        wanted = Failed("division by zero")
    except TypeError:
        return
    result = outcome(text)
    # Python calculates with true and false as with 1 and 0, this language does not.
    assert result == wanted or (isinstance(result, Failed) and "true or false" in result)
