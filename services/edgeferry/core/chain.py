"""A rule chain: what flows where. Data only; loading and checking is in ``rules``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NESTING_MAX: Final = 16
"""So many chains, each called by the one before, may a message be inside of."""


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


@dataclass(frozen=True, slots=True)
class Chains:
    """A site's root chain and every chain that messages reach from it, checked together: no
    chain reaches itself, and each relation that is wired can come back."""

    root: Chain
    nested: tuple[Chain, ...] = ()

    @property
    def all(self) -> tuple[Chain, ...]:
        """The root first."""
        return (self.root, *self.nested)

    def find(self, name: str) -> Chain | None:
        return next((chain for chain in self.all if chain.name == name), None)


def caller(chain: str, node: str) -> str:
    """A node that calls a chain, as it stands in a message's stack."""
    return f"{chain}/{node}"
