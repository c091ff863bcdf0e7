"""Where settings come from, and how what is wrong with them is told."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from edgeferry.runtime.strict_yaml import InvalidYaml, load_yaml

PREFIX = "EDGEFERRY_"
_NESTED = "__"
_CLOSE = 0.8
_SECRET_NAMES = ("secret", "token", "password")


class Given(NamedTuple):
    """One setting as somebody gave it; ``source`` says who, for the error."""

    path: tuple[str, ...]
    value: object
    source: str

    @property
    def name(self) -> str:
        return ".".join(self.path)


def from_file(file: Path | None, problems: list[str]) -> list[Given]:
    """YAML, and so JSON too."""
    if file is None:
        return []
    try:
        parsed = load_yaml(file.read_text())
    except FileNotFoundError:
        problems.append(f"settings file {file} does not exist: create it or name another")
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"settings file {file} cannot be read: {error}")
        return []
    except InvalidYaml as error:
        problems += [f"settings file {file}: {problem}" for problem in error.problems]
        return []
    if parsed is None:
        return []
    if not isinstance(parsed, dict):
        problems.append(f"settings file {file} must hold names with values, such as `role: edge`")
        return []
    return list(_leaves(parsed, (), f"in {file}"))


def from_secrets(folder: Path, names: Sequence[str], problems: list[str]) -> list[Given]:
    """One file per setting, e.g. ``api__read_token``; hidden files are somebody else's."""
    if not folder.is_dir():
        problems.append(f"{PREFIX}SECRETS: {folder} is no folder: create it or unset it")
        return []
    given = []
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        path = tuple(file.name.lower().removeprefix(PREFIX.lower()).split(_NESTED))
        if path[0] not in names:
            problems.append(f"{file}: no such setting{_perhaps(path[0], names)}")
            continue
        try:
            given.append(Given(path, file.read_text().strip(), f"in {file}"))
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{file} cannot be read: {error}")
    return given


def from_environment(
    environ: Mapping[str, str], names: Sequence[str], problems: list[str]
) -> list[Given]:
    """EDGEFERRY_HTTP__PORT is http.port. Other variables with the prefix exist (Kubernetes
    makes some for its services): only those that look like a slip are refused."""
    given = []
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX):
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split(_NESTED))
        if path[0] in names:
            given.append(Given(path, value, f"environment {variable}"))
        elif len(path) > 1 or _closest(path[0], names):
            problems.append(f"environment {variable}: no such setting{_perhaps(path[0], names)}")
    return given


def from_overrides(overrides: Mapping[str, object]) -> list[Given]:
    return [
        Given(tuple(name.split(".")), value, "option")
        for name, value in overrides.items()
        if value is not None
    ]


def merged(given: Iterable[Given]) -> dict[str, Any]:
    """Nested; what comes later wins."""
    tree: dict[str, Any] = {}
    for path, value, _ in given:
        branch = tree
        for part in path[:-1]:
            below = branch.get(part)
            if not isinstance(below, dict):
                below = branch[part] = {}
            branch = below
        branch[path[-1]] = value
    return tree


def problem_lines(
    error: ValidationError, given: Sequence[Given], model: type[BaseModel]
) -> list[str]:
    """One line each: setting, what is wrong, where it is from."""
    return [_line(problem, given, model) for problem in error.errors(include_url=False)]


def _line(problem: Any, given: Sequence[Given], model: type[BaseModel]) -> str:
    path = tuple(str(part) for part in problem["loc"])
    name = ".".join(path)
    sources = [
        g.source for g in given if path[: len(g.path)] == g.path or g.path[: len(path)] == path
    ]
    source = f" ({sources[-1]})" if sources else ""
    if problem["type"] == "extra_forbidden":
        return f"{name}: no such setting{_perhaps(path[-1], _fields_at(model, path[:-1]))}{source}"
    wanted = problem["msg"].replace("Input should", "should").partition(", unable to")[0]
    if problem["type"] == "model_type":
        wanted = f"should hold names with values: {', '.join(_fields_at(model, path))}"
    shown = "" if any(word in name for word in _SECRET_NAMES) else f"is {problem['input']!r}, "
    return f"{name}: {shown}{wanted}{source}"


def _leaves(tree: Mapping[Any, object], path: tuple[str, ...], source: str) -> Iterator[Given]:
    for name, value in tree.items():
        below = (*path, str(name))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, below, source)
        else:
            yield Given(below, value, source)


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> list[str]:
    for part in path:
        field = model.model_fields.get(part)
        inner = field.annotation if field else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)


def _closest(name: str, names: Sequence[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=_CLOSE)), None)


def _perhaps(name: str, names: Sequence[str]) -> str:
    """What to do about a name that is not there."""
    closest = next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.6)), None)
    if closest:
        return f"; did you mean {closest}?"
    return f"; remove it, or use one of {', '.join(names)}" if names else "; remove it"
