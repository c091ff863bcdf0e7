"""The settings of a site as a file: what differs from the defaults, for people to read."""

from pathlib import Path

import yaml

from edgeferry.runtime.settings import Settings
from edgeferry.tools.data_folder import write_whole


def write_settings(path: Path, settings: Settings, head: str) -> None:
    """Whole or not at all; ``head`` becomes its first line, a comment."""
    document = settings.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(
        {"role": settings.role, "site": settings.site, **document}, sort_keys=False
    )
    write_whole(path, f"# {head}\n{text}".encode())
