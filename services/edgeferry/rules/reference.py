"""The reference page of node types, made from the registry.

``python -m edgeferry.rules.reference`` writes ``rules/nodes/README.md``; a test checks
that what is committed is what this makes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from edgeferry.core.node import NodeSpec
from edgeferry.rules.registry import NODES

PAGE: Final = Path(__file__).parent / "nodes" / "README.md"
_HEAD = """# Node types

Made by `python -m edgeferry.rules.reference`; do not edit. Every node may also leave by
`Success` and `Failure`. A default stands after `=`; an option without one must be given.

| type | chains | relations | options | what it does |
|---|---|---|---|---|
"""
_RELATIONS_SHOWN = 4


def reference_page(nodes: Mapping[str, NodeSpec]) -> str:
    return _HEAD + "".join(_line(nodes[name]) for name in sorted(nodes))


def _line(spec: NodeSpec) -> str:
    side = "all" if spec.side == "both" else spec.side
    cells = (f"`{spec.type}`", side, _relations(spec), _options(spec.config), spec.summary)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _relations(spec: NodeSpec) -> str:
    shown = ", ".join(spec.relations[:_RELATIONS_SHOWN])
    more = len(spec.relations) - _RELATIONS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _options(config: type[Any]) -> str:
    return "<br>".join(f"`{line}`" for line in _option_lines(config, ""))


def _option_lines(config: type[Any], path: str) -> Iterable[str]:
    types = get_type_hints(config)
    for option in fields(config):
        inner = _inner_dataclass(types[option.name])
        if inner is not None:
            yield from _option_lines(inner, f"{path}{option.name}.")
        else:
            yield f"{path}{option.name}{_default(option)}"


def _inner_dataclass(type_: Any) -> type[Any] | None:
    for candidate in (type_, *get_args(type_)):
        parsed_from_text = hasattr(candidate, "parse")
        if isinstance(candidate, type) and is_dataclass(candidate) and not parsed_from_text:
            return candidate
    return None


def _default(option: "Field[Any]") -> str:
    value = option.default
    if value is MISSING:
        return "" if option.default_factory is MISSING else " = ..."
    match value:
        case None:
            return " = none"
        case Enum():
            return f" = {value.value}"
        case bool():
            return f" = {str(value).lower()}"
        case tuple():
            return " = []"
        case int() | float() | str():
            return f" = {value}"
        case _:
            return f" = {value.text}"


if __name__ == "__main__":
    PAGE.write_text(reference_page(NODES))
