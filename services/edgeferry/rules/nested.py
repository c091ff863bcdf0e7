"""Chains inside of chains: who called stands in the message, and from there leads back.

Nothing is remembered of a message that is inside of a chain, so nothing is lost with the
process that passed it on.
"""

from typing import Final, NamedTuple

from edgeferry.core.chain import NESTING_MAX, Chains, caller
from edgeferry.core.errors import Never
from edgeferry.core.message import RuleMessage
from edgeferry.log.topics import node_topic

NO_CALLER: Final = "No caller"
"""Counted: an output node's message that no chain has sent into its chain."""


class UnknownCaller(Never):
    """A message is to return to a node that no chain of the site has. The operator acts: the
    dead letter is replayed once that chain runs again."""


class Way(NamedTuple):
    """Where a calling node leads by the name of an output node."""

    chain: str
    node: str
    topics: tuple[str, ...]


def deeper(message: RuleMessage, chain: str, node: str) -> RuleMessage | None:
    """The message as the called chain gets it from this node. None: too deep."""
    if len(message.stack) >= NESTING_MAX:
        return None
    return message.with_(stack=[*message.stack, caller(chain, node)])


class WaysBack:
    """Of an output node: where its name leads from each node that called its chain."""

    def __init__(self, site: str, chains: Chains, chain: str, node: str) -> None:
        self._site = site
        self._chains = chains
        self._chain = chain
        self._output = node
        self._found: dict[str, Way] = {}

    def to(self, called_by: str) -> Way:
        """``called_by``: as it stands in the message. Raises UnknownCaller."""
        way = self._found.get(called_by)
        if way is None:
            way = self._found[called_by] = self._way(called_by)
        return way

    def _way(self, called_by: str) -> Way:
        name, _, node = called_by.partition("/")
        chain = self._chains.find(name)
        if chain is None or node not in chain.nodes:
            raise UnknownCaller(
                f"node {node} of chain {name}, which called chain {self._chain}, is in none of "
                "this site's chains: replay this dead letter once it is again"
            )
        targets = chain.targets(node).get(self._output.lower(), ())
        return Way(name, node, tuple(node_topic(self._site, name, target) for target in targets))
