"""The settings of a site as a file: what differs from the defaults, for people to read."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.runtime.strict_yaml import dump_yaml


def write_settings(path: Path, settings: Settings, head: str) -> None:
    """Whole or not at all; ``head`` becomes its first lines, comments. A file that says all
    this already stays as it is, with the comments of its owner; otherwise one that has any
    stays beside it (``before_path``). Raises InvalidSettings, OSError."""
    comments = [f"# {line}" for line in head.splitlines()]
    if path.exists():
        if load_settings(path, environ={}) == settings:
            return
        before = path.read_text()
        if any("#" in line and line not in comments for line in before.splitlines()):
            write_whole(before_path(path), before.encode())
    document = settings.model_dump(exclude_defaults=True)
    text = dump_yaml({"role": settings.role, "site": settings.site, **_plain_members(document)})
    write_whole(path, "\n".join((*comments, text)).encode())


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
