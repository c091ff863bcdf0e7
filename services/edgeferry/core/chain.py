"""A rule chain: what flows where. Data only; loading and checking is in ``rules``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ChainNode:
    """One node instance; ``config`` is the node type's own Config, already checked."""

    name: str
    type: str
    config: Any
    title: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """From a node's relation to the inputs of other nodes; relations match case-insensitively."""

    source: str
    relation: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """A checked chain: every name resolves, every node is reached, there is no cycle."""

    name: str
    version: int
    input: str
    nodes: Mapping[str, ChainNode]
    wires: tuple[Wire, ...]

    def targets(self, node: str) -> dict[str, tuple[str, ...]]:
        """Relation in lower case -> names of the nodes that it leads to."""
        found: dict[str, tuple[str, ...]] = {}
        for wire in self.wires:
            if wire.source == node:
                relation = wire.relation.lower()
                found[relation] = found.get(relation, ()) + wire.targets
        return found
