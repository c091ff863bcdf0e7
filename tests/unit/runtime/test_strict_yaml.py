"""What is written is read again as it was."""

import pytest

from edgeferry.runtime.strict_yaml import dump_yaml, load_yaml


@pytest.mark.parametrize(
    "text", ["1e3", "0123", "12", "1.5", "yEs", "null", "~", "", "2026-11-24", "a: b", "- a", "ä\n"]
)
def test_a_text_that_looks_otherwise_stays_a_text(text: str) -> None:
    assert load_yaml(dump_yaml({"key": text})) == {"key": text}


def test_the_same_thing_twice_is_written_twice() -> None:
    same = ["a", 1, 0.5, True, None, {"b": 1e20}]
    assert load_yaml(dump_yaml({"one": same, "two": same})) == {"one": same, "two": same}
