"""Text with places for metadata and fields of the body."""

import pytest

from edgeferry.core.template import LENGTH_MAX, Template
from tests.contract.node_driver import message

MESSAGE = message(
    data='{"t": 21.5, "a": {"b": [1, "x"]}, "name": "Küche", "none": null}',
    metadata={"deviceName": "Boiler 1", "${x}": "odd"},
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ""),
        ("plain $ {text} $[", "plain $ {text} $["),
        ("${deviceName}: $[t] C", "Boiler 1: 21.5 C"),
        ("$[a.b] $[a] $[name]", '[1, "x"] {"b": [1, "x"]} Küche'),
        ("$[none]", "null"),
        ("${missing} $[missing] $[a.b.c] $[t.x]", "${missing} $[missing] $[a.b.c] $[t.x]"),
        ("$[*]", MESSAGE.data),
        ("${*}", '{"deviceName": "Boiler 1", "${x}": "odd"}'),
        ("${deviceName}${deviceName}", "Boiler 1Boiler 1"),
    ],
)
def test_rendering(text: str, wanted: str) -> None:
    assert Template.parse(text).render(MESSAGE) == wanted


def test_a_value_is_never_read_as_a_template() -> None:
    given = message(data={"a": "${deviceName}"}, metadata={"deviceName": "$[a]"})
    assert Template.parse("$[a] ${deviceName}").render(given) == "${deviceName} $[a]"


@pytest.mark.parametrize("body", ["no json", "[1]", "5", "[" * 100_000])
def test_a_body_without_fields_leaves_the_places(body: str) -> None:
    assert Template.parse("x $[a]").render(message(data=body)) == "x $[a]"


def test_a_template_has_a_limit() -> None:
    with pytest.raises(ValueError, match=f"longer than {LENGTH_MAX}"):
        Template.parse("x" * (LENGTH_MAX + 1))
