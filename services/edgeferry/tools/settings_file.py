"""The settings of a site as a file: what differs from the defaults, for people to read."""

from pathlib import Path

from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import Settings
from edgeferry.runtime.strict_yaml import dump_yaml


def write_settings(path: Path, settings: Settings, head: str) -> None:
    """Whole or not at all; ``head`` becomes its first line, a comment."""
    document = settings.model_dump(mode="json", exclude_defaults=True)
    text = dump_yaml({"role": settings.role, "site": settings.site, **document})
    write_whole(path, f"# {head}\n{text}".encode())
