"""The catalogue of topics (``schemas/topics.yaml``) and the names that follow from chains."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml

from edgeferry.log.schemas import schemas_dir

Role = Literal["edge", "cloud"]
UNTIL_READ = "until_read"
DEAD_LETTERS = ".dead-letters"
"""How the name of a site's topic of dead letters ends."""
_UNITS_MS = {"h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a topic is made. ``retention_ms`` None: until read."""

    name: str
    value: str
    partitions: int
    retention_ms: int | None


def root_topic(site: str) -> str:
    """Where the gateway and the intake write; the root chain's entry node reads it."""
    return f"{site}.root"


def chain_topic(site: str, chain: str) -> str:
    """The entry of a chain that is not the root."""
    return f"{site}.{chain}"


def node_topic(site: str, chain: str, node: str) -> str:
    return f"{site}.{chain}.{node}"


def site_topic(site: str, name: str) -> str:
    """A topic of the catalogue. Raises KeyError when the catalogue has no such name."""
    catalogue()["topics"][name]
    return f"{site}.{name}"


@cache
def catalogue() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(schemas_dir().joinpath("topics.yaml").read_text())
    return parsed


def site_topics(site: str, role: Role) -> list[TopicSettings]:
    """Every topic of the catalogue for one site, chains excepted."""
    return [
        TopicSettings(
            name=f"{site}.{name}",
            value=row["value"],
            partitions=int(row["partitions"][role]),
            retention_ms=_retention_ms(row["retention"]),
        )
        for name, row in catalogue()["topics"].items()
    ]


def chain_topics(names: Iterable[str], partitions: int | None = None) -> list[TopicSettings]:
    """Settings for the topics of chains."""
    row = catalogue()["chains"]
    return [
        TopicSettings(
            name=name,
            value=row["value"],
            partitions=partitions or int(row["partitions"]),
            retention_ms=_retention_ms(row["retention"]),
        )
        for name in names
    ]


def _retention_ms(text: str) -> int | None:
    if text == UNTIL_READ:
        return None
    return int(text[:-1]) * _UNITS_MS[text[-1]]
