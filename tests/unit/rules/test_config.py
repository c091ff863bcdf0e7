"""A node's options: types kept strictly, every problem told with its path."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.expression import Expression
from edgeferry.rules.config import build_config

ALWAYS = Expression.parse("true")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Inner:
    size: int
    unit: str = "m"


@dataclass(frozen=True, slots=True)
class Options:
    text: str
    whole: int = 1
    number: float = 1.5
    flag: bool = False
    names: tuple[str, ...] = ()
    mode: Literal["fast", "slow"] = "fast"
    colour: Colour = Colour.RED
    inner: Inner = Inner(1)
    inners: tuple[Inner, ...] = ()
    labels: Mapping[str, str] | None = None
    maybe: int | None = None
    condition: Expression = ALWAYS

    def validate(self) -> Iterable[str]:
        if self.whole < 0:
            yield "whole: expected 0 or more"
        if self.text == "bad":
            yield "text and whole do not fit"


def problems(raw: object) -> list[str]:
    found: list[str] = []
    built = build_config(Options, raw, lambda path, problem: found.append(f"{path}: {problem}"))
    assert (built is None) == bool(found)
    return found


def build(raw: object) -> Any:
    return build_config(Options, raw, lambda path, problem: pytest.fail(f"{path}: {problem}"))


def test_defaults() -> None:
    assert build({"text": "x"}) == Options("x")


def test_every_type() -> None:
    built = build(
        {
            "text": "x",
            "whole": 2,
            "number": 3,
            "flag": True,
            "names": ["a", "b"],
            "mode": "slow",
            "colour": "blue",
            "inner": {"size": 5},
            "inners": [{"size": 6, "unit": "cm"}],
            "labels": {"a": "b"},
            "maybe": 7,
            "condition": "msg.a > 1",
        }
    )
    assert built == Options(
        text="x",
        whole=2,
        number=3.0,
        flag=True,
        names=("a", "b"),
        mode="slow",
        colour=Colour.BLUE,
        inner=Inner(5),
        inners=(Inner(6, "cm"),),
        labels={"a": "b"},
        maybe=7,
        condition=Expression.parse("msg.a > 1"),
    )
    assert type(built.number) is float
    assert build({"text": "x", "maybe": None, "labels": None}) == Options("x")


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (None, ": expected options, got nothing"),
        ([], ": expected options, got a list"),
        ({}, "text: missing: text is wanted"),
        ({"text": 5}, "text: expected text, got 5 (quote it)"),
        ({"text": True}, "text: expected text, got true (quote it)"),
        ({"text": None}, "text: expected text, got nothing"),
        ({"text": "x", "whole": "x"}, 'whole: expected a whole number, got "x"'),
        ({"text": "x", "whole": True}, "whole: expected a whole number, got true"),
        ({"text": "x", "whole": 1.0}, "whole: expected a whole number, got 1.0"),
        ({"text": "x", "whole": -1}, "whole: expected 0 or more"),
        ({"text": "bad"}, ": text and whole do not fit"),
        ({"text": "x", "number": "1"}, 'number: expected a number, got "1"'),
        ({"text": "x", "number": True}, "number: expected a number, got true"),
        ({"text": "x", "number": float("inf")}, "number: expected a number, got inf"),
        ({"text": "x", "number": 10**400}, "number: expected a number, got a huge number"),
        ({"text": "x", "flag": 1}, "flag: expected true or false, got 1"),
        ({"text": "x", "flag": "yes"}, 'flag: expected true or false, got "yes"'),
        ({"text": "x", "names": "a"}, 'names: expected a list, got "a"'),
        ({"text": "x", "names": ["a", 5]}, "names[1]: expected text, got 5 (quote it)"),
        ({"text": "x", "mode": "slo"}, 'mode: expected one of fast, slow, got "slo", did you mean'),
        ({"text": "x", "mode": 1}, "mode: expected one of fast, slow, got 1"),
        ({"text": "x", "colour": "reed"}, 'colour: expected one of red, blue, got "reed", did you'),
        ({"text": "x", "colour": "RED"}, "colour: expected one of red, blue"),
        ({"text": "x", "inner": {}}, "inner.size: missing: a whole number is wanted"),
        ({"text": "x", "inner": 5}, "inner: expected options, got 5"),
        (
            {"text": "x", "inner": {"size": 1, "units": "m"}},
            "inner.units: unknown option, did you ",
        ),
        ({"text": "x", "inners": [{"size": "1"}]}, "inners[0].size: expected a whole number"),
        ({"text": "x", "labels": ["a"]}, "labels: expected a mapping, got a list"),
        ({"text": "x", "labels": {"a": 1}}, "labels.a: expected text, got 1 (quote it)"),
        ({"text": "x", "maybe": "1"}, 'maybe: expected a whole number, got "1"'),
        ({"text": "x", "condition": "msg.a >"}, "condition: not an expression"),
        ({"text": "x", "condition": 5}, "condition: expected text, got 5 (quote it)"),
        ({"text": "x", "txet": "y"}, "txet: unknown option, did you mean text?"),
        ({"text": "x", "zzz": "y"}, "zzz: unknown option; there are text, whole"),
    ],
)
def test_a_wrong_option_is_told_with_its_path(raw: object, wanted: str) -> None:
    (problem,) = problems(raw)
    assert problem.startswith(wanted)


def test_all_wrong_options_are_told_at_once() -> None:
    raw = {"whole": "x", "flag": 1, "names": [1, 2], "inner": {"size": "s", "x": 1}, "y": 1}
    assert [problem.partition(":")[0] for problem in sorted(problems(raw))] == [
        "flag",
        "inner.size",
        "inner.x",
        "names[0]",
        "names[1]",
        "text",
        "whole",
        "y",
    ]


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "whole", "inner", "size", "labels", "names", "maybe", "x"]),
            inner,
        )
    ),
)


@given(trees)
def test_no_tree_breaks_it(raw: object) -> None:
    problems(raw)
