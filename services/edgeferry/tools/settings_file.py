"""The settings of a site as a file: what differs from the defaults, for people to read."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import PATHS, Settings, load_settings
from edgeferry.runtime.settings_paths import relative
from edgeferry.runtime.strict_yaml import dump_yaml, load_yaml


def write_settings(path: Path, settings: Settings, head: str) -> None:
    """Whole or not at all; ``head`` becomes its first lines, comments. What lies in the data
    folder is told from the file's place on, so the folder can be copied or moved. A file that
    says all this already stays as it is, with the comments of its owner; otherwise one that has
    any stays beside it (``before_path``). Raises InvalidSettings, OSError."""
    comments = [f"# {line}" for line in head.splitlines()]
    if path.exists():
        before = path.read_text()
        if load_settings(path, environ={}) == settings and _can_move(before, path):
            return
        if any("#" in line and line not in comments for line in before.splitlines()):
            write_whole(before_path(path), before.encode())
    document = settings.model_dump(exclude_defaults=True)
    members = {"role": settings.role, "site": settings.site, **_plain_members(document)}
    text = dump_yaml(_from_here(members, path))
    write_whole(path, "\n".join((*comments, text)).encode())


def _can_move(text: str, path: Path) -> bool:
    document = load_yaml(text) or {}
    return _from_here(document, path) == document


def _from_here(document: Mapping[str, object], path: Path) -> dict[str, object]:
    return relative(document, path, PATHS)


def before_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _plain_members(members: Mapping[str, object]) -> dict[str, object]:
    return {name: _plain(value) for name, value in members.items()}


def _plain(value: object) -> object:
    """As YAML has it; a secret as its owner has written it."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return _plain_members(value)
    return list(value) if isinstance(value, tuple) else value
