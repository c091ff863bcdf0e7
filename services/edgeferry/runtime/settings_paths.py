"""Paths in a settings file are relative to the folder of that file, so that a folder can be
copied or moved with all that is in it."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from edgeferry.runtime.settings_sources import Given

Names = tuple[str, ...]

_NAME_OR_PATH: Names = ("root_chain",)


def path_names(model: type[BaseModel]) -> Iterator[Names]:
    """Of all settings that are a path, or may be one."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from ((name, *below) for below in path_names(kind))
        elif kind is Path or Path in get_args(kind) or (name,) == _NAME_OR_PATH:
            yield (name,)


def absolute(given: Iterable[Given], file: Path, names: Iterable[Names]) -> list[Given]:
    """What a file gave, with the settings ``names`` from its folder on."""
    wanted = set(names)
    return [_absolute(one, file) if one.path in wanted else one for one in given]


def _absolute(given: Given, file: Path) -> Given:
    value = given.value
    if not isinstance(value, str) or not value:
        return given
    if given.path == _NAME_OR_PATH and os.sep not in value and not value.endswith(".yaml"):
        return given
    return given._replace(value=os.path.normpath(folder_of(file) / value))


def folder_of(file: Path) -> Path:
    """Where the file is found, also when it is a link to elsewhere."""
    return file.parent.resolve()


def relative(document: Mapping[str, Any], file: Path, names: Iterable[Names]) -> dict[str, Any]:
    """``document``: as a settings file has it, nested. What it names (``names``) of the data
    folder, in which a site has a folder with this file, is told from the file's place."""
    changed = dict(document)
    for first, *below in names:
        value = changed.get(first)
        if below and isinstance(value, Mapping):
            changed[first] = relative(value, file, [tuple(below)])
        elif not below and isinstance(value, str):
            changed[first] = _relative(value, file)
    return changed


def _relative(value: str, file: Path) -> str:
    folder = folder_of(file)
    path = Path(os.path.normpath(value))
    if folder.parent == folder.parent.parent:  # all of the machine is below it
        inside = path.is_relative_to(folder)
    else:
        inside = path.is_relative_to(folder.parent)
    return os.path.relpath(path, folder) if path.is_absolute() and inside else value
