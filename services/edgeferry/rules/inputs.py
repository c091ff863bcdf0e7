"""Which topic each node of a site's chains reads."""

from typing import NamedTuple

from edgeferry.core.chain import Chain, Chains
from edgeferry.log.topics import chain_topic, node_topic, root_topic


def input_topic(site: str, chain: Chain, node: str, *, root: bool) -> str:
    """The topic, and the group, of a node."""
    if node != chain.input:
        return node_topic(site, chain.name, node)
    return root_topic(site) if root else chain_topic(site, chain.name)


def input_topics(site: str, chain: Chain, *, root: bool) -> list[str]:
    """The topics of all nodes of a chain."""
    return [input_topic(site, chain, node, root=root) for node in chain.nodes]


class NodeInput(NamedTuple):
    """What a node of a site reads; its group has the topic's name."""

    chain: str
    node: str
    topic: str


def node_inputs(site: str, chains: Chains) -> list[NodeInput]:
    """Of all nodes of all chains of a site, the root chain's first."""
    return [
        NodeInput(chain.name, node, input_topic(site, chain, node, root=chain is chains.root))
        for chain in chains.all
        for node in chain.nodes
    ]
