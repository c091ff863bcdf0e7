"""What a process runs of its site: all of it, or a part that has a process of its own."""

from dataclasses import dataclass

from edgeferry.core.chain import Chain, Chains
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import Settings

ALL_NODES = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this process runs. nodes: names of rule nodes, ``ALL_NODES``, or none;
    chain: the name of theirs, empty for the root chain, or for every chain of all nodes.
    attributes: the owner of changes."""

    nodes: tuple[str, ...] = ()
    chain: str = ""
    gateway: bool = False
    sync: bool = False
    api: bool = False
    attributes: bool = False


WHOLE = Wanted(nodes=(ALL_NODES,), gateway=True, sync=True, api=True, attributes=True)


def check_parts(settings: Settings, wanted: Wanted) -> None:
    """Raises InvalidSettings when a part could not share what the site stands on."""
    if wanted == WHOLE:
        return
    problems = []
    if settings.log.kind == "sqlite":
        problems.append("log.kind is sqlite: set kafka")
    if settings.store.kind == "sqlite":
        problems.append("store.kind is sqlite: set cassandra")
    if problems:
        raise InvalidSettings(
            "a SQLite file belongs to one process, so this site cannot run in parts "
            f"({'; '.join(problems)}), or run all of it in one process with `edgeferry site`"
        )


def wanted_nodes(
    site: str, chains: Chains, wanted: Wanted
) -> list[tuple[Chain, tuple[str, ...] | None]]:
    """Of which chains which nodes, None for all of them.

    Raises InvalidSettings for a chain or a node that the site has not."""
    if ALL_NODES in wanted.nodes and not wanted.chain:
        return [(chain, None) for chain in chains.all]
    chain = chains.find(wanted.chain) if wanted.chain else chains.root
    if chain is None:
        names = ", ".join(chain.name for chain in chains.all)
        raise InvalidSettings(
            f"site {site} has no chain {wanted.chain}; it has {names}: the setting root_chain "
            "names the first, nodes of type rule_chain the others"
        )
    if ALL_NODES in wanted.nodes:
        return [(chain, None)]
    unknown = sorted(set(wanted.nodes) - set(chain.nodes))
    if unknown:
        raise InvalidSettings(
            f"chain {chain.name} has no node {', '.join(unknown)}; it has {', '.join(chain.nodes)}"
        )
    return [(chain, wanted.nodes)]
