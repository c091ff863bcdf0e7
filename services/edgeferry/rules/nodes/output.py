"""Returns messages to the chain that called this one (semantics 6.4, output).

They leave the calling node by this node's name. Where no chain called, they end here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Leaving, NodeSpec, Return


@dataclass(frozen=True, slots=True)
class Config:
    def validate(self) -> Iterable[str]:
        return ()


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    return (Return(message),)


NODE = NodeSpec(
    type="output",
    summary="Returns the message to the calling chain, by the relation that is this node's name.",
    config=Config,
    process=process,
    returns=True,
)
