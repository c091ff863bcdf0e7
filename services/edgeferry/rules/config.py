"""Builds a node's Config, a frozen dataclass, from what a chain file says; strictly.

Types that an option may have: str, int, float, bool, Literal, an Enum (by value),
tuple[T, ...], Mapping[str, T], another dataclass, T | None, and any class with a
``parse(text)`` that raises ValueError (expressions, templates). Nothing is converted
silently, except a whole number where a float is wanted.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Report = Callable[[str, str], None]
"""Takes the path of an option, relative to the config, and what is wrong with it."""

_WANTED = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
_FAILED = object()


def build_config(config: type[Any], raw: object, report: Report) -> Any | None:
    """The Config, validated; None when there were problems, all of which were reported."""
    problems: list[str] = []

    def noted(path: str, problem: str) -> None:
        problems.append(problem)
        report(path, problem)

    built = _dataclass(config, raw, "", noted)
    if problems:
        return None
    for line in built.validate():
        path, colon, problem = line.partition(": ")
        noted(path if colon else "", problem if colon else line)
    return None if problems else built


def did_you_mean(word: object, known: Any) -> str:
    """A hint to append to a problem, or nothing."""
    names, text = list(known), str(word)
    close = get_close_matches(text, names, n=1)
    if not close and len(text) > 2:
        close = [name for name in names if text in name]
    return f", did you mean {close[0]}?" if close else ""


def _dataclass(config: type[Any], raw: object, path: str, report: Report) -> Any:
    if not isinstance(raw, Mapping):
        return _wrong(path, "options", raw, report)
    options = {option.name: option for option in fields(config) if option.init}
    types = get_type_hints(config)
    values = {}
    for name, value in raw.items():
        if name not in options:
            hint = did_you_mean(name, options) or _known(options)
            report(_join(path, name), f"unknown option{hint}")
        else:
            values[name] = _value(types[name], value, _join(path, name), report)
    for name, option in options.items():
        if name not in raw and _required(option):
            report(_join(path, name), f"missing: {_wanted(types[name])} is wanted")
            values[name] = _FAILED
    if len(values) < len(raw) or any(value is _FAILED for value in values.values()):
        return _FAILED
    return config(**values)


def _value(type_: Any, raw: object, path: str, report: Report) -> Any:
    origin = get_origin(type_)
    if origin in (Union, UnionType):
        return _optional(type_, raw, path, report)
    if origin is Literal:
        return _choice({str(v): v for v in get_args(type_)}, raw, path, report)
    if origin is tuple:
        return _tuple(get_args(type_)[0], raw, path, report)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(type_)[1], raw, path, report)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return _choice({str(v.value): v for v in type_}, raw, path, report)
    if hasattr(type_, "parse"):
        return _parsed(type_, raw, path, report)
    if isinstance(type_, type) and is_dataclass(type_):
        return _dataclass(type_, raw, path, report)
    if type_ is float:
        return _float(raw, path, report)
    if type(raw) is not type_:
        return _wrong(path, _wanted(type_), raw, report)
    return raw


def _optional(type_: Any, raw: object, path: str, report: Report) -> Any:
    inner = [arg for arg in get_args(type_) if arg is not NoneType]
    if raw is None:
        return None
    return _value(inner[0], raw, path, report)


def _choice(known: Mapping[str, Any], raw: object, path: str, report: Report) -> Any:
    if isinstance(raw, str) and raw in known:
        return known[raw]
    hint = did_you_mean(raw, known) if isinstance(raw, str) else ""
    return _wrong(path, f"one of {', '.join(known)}", raw, report, hint)


def _tuple(inner: Any, raw: object, path: str, report: Report) -> Any:
    if not isinstance(raw, list):
        return _wrong(path, "a list", raw, report)
    items = [_value(inner, item, f"{path}[{i}]", report) for i, item in enumerate(raw)]
    return _FAILED if any(item is _FAILED for item in items) else tuple(items)


def _mapping(inner: Any, raw: object, path: str, report: Report) -> Any:
    if not isinstance(raw, Mapping):
        return _wrong(path, "a mapping", raw, report)
    items = {key: _value(inner, item, _join(path, key), report) for key, item in raw.items()}
    return _FAILED if any(item is _FAILED for item in items.values()) else items


def _parsed(type_: Any, raw: object, path: str, report: Report) -> Any:
    if type(raw) is not str:
        return _wrong(path, "text", raw, report)
    try:
        return type_.parse(raw)
    except ValueError as error:
        report(path, str(error))
        return _FAILED


def _float(raw: object, path: str, report: Report) -> Any:
    try:
        if type(raw) in (int, float) and math.isfinite(raw):  # type: ignore[arg-type]
            return float(raw)  # type: ignore[arg-type]
    except OverflowError:  # a whole number beyond every float
        pass
    return _wrong(path, "a number", raw, report)


def _wrong(path: str, wanted: str, raw: object, report: Report, hint: str = "") -> object:
    advice = ""
    if wanted == "text" and isinstance(raw, bool | int | float):
        advice = " (quote it)"
    report(path, f"expected {wanted}, got {shown(raw)}{advice}{hint}")
    return _FAILED


def shown(raw: object) -> str:
    """A value of a file as it should stand in a message: short, on one line."""
    match raw:
        case None:
            return "nothing"
        case bool():
            return "true" if raw else "false"
        case str():
            return f'"{raw[:40]}"' if raw.isprintable() else ascii(raw[:40])
        case int() | float():
            return (
                repr(raw) if isinstance(raw, float) or raw.bit_length() < 128 else "a huge number"
            )
        case Mapping():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return type(raw).__name__


def _wanted(type_: Any) -> str:
    if get_origin(type_) is tuple:
        return "a list"
    return _WANTED.get(type_, "text" if hasattr(type_, "parse") else "a value")


def _required(option: "Field[Any]") -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def _known(options: Any) -> str:
    return f"; there are {', '.join(options)}" if options else "; there are none"


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
