"""Passes messages into another chain, as if that were one node (semantics 6.4, rule chain).

What the other chain returns by an output node leaves here by that node's name; what ends
there ends. A chain that reaches itself is refused when it is loaded.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Call, Leaving, NodeSpec

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Config:
    """``chain``: its name; the file beside this chain's, or a built-in one."""

    chain: str

    def validate(self) -> Iterable[str]:
        if not _NAME.fullmatch(self.chain):
            yield (
                "chain: give a chain's name, small letters, digits, - and _; its file stands "
                "beside this one"
            )


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    return (Call(config.chain, message),)


NODE = NodeSpec(
    type="rule_chain",
    summary="Passes the message into another chain; its output nodes' names are the relations.",
    config=Config,
    process=process,
    calls=lambda config: config.chain,
)
