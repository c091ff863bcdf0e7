"""The Avro schemas and their fixed ids (``schemas/``)."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml


def schemas_dir() -> Traversable:
    """``schemas/`` of the checkout, or its copy in the wheel."""
    packaged = files("edgeferry").joinpath("_schemas")
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[3] / "schemas"


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    id: int
    subject: str
    version: int
    text: str

    @property
    def parsed(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed


@cache
def registered_schemas() -> dict[int, RegisteredSchema]:
    """All schemas by id, from ``schemas/ids.yaml``."""
    directory = schemas_dir()
    rows = yaml.safe_load(directory.joinpath("ids.yaml").read_text())
    return {
        int(id_): RegisteredSchema(
            id=int(id_),
            subject=row["subject"],
            version=int(row["version"]),
            text=directory.joinpath(row["file"]).read_text(),
        )
        for id_, row in rows.items()
    }


@cache
def newest_id(subject: str) -> int:
    """The id that writers of ``subject`` use."""
    found = [s for s in registered_schemas().values() if s.subject == subject]
    return max(found, key=lambda schema: schema.version).id
