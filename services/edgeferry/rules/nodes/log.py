"""Writes one line for a message to the process's log, at INFO (semantics 6.4, log).

At most ``max_per_second`` lines in a second, so that no flood fills the disk; how many
were left out stands in the next line.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.core.clock import Clock, SystemClock
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import SUCCESS, Leaving, NodeSpec, Output
from edgeferry.core.template import Template

LINE_MAX: Final = 1_000
EVERYTHING: Final = Template.parse("$[*] ${*}")
logger: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Config:
    """``message``: text with ``${metadata key}`` and ``$[body field]``; ``*`` is all."""

    message: Template = EVERYTHING
    max_per_second: int = 10

    def validate(self) -> Iterable[str]:
        if not 1 <= self.max_per_second <= 1_000:
            yield "max_per_second: expected 1 to 1000"


class Allowance:
    """How many lines this second still has."""

    def __init__(self, per_second: int, clock: Clock) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = -1
        self._used = 0
        self.left_out = 0

    def take(self) -> bool:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._used = second, 0
        if self._used >= self._per_second:
            self.left_out += 1
            return False
        self._used += 1
        return True


def line(message: RuleMessage, config: Config) -> str:
    """One line, whatever the message holds: control characters are written as escapes."""
    rendered = config.message.render(message)
    text = f"{message.type} {message.entity_type} {message.entity_id}: {rendered[:LINE_MAX]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:LINE_MAX])


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, allowance: Allowance
) -> list[Iterable[Leaving]]:
    for message in messages:
        if allowance.take():
            if allowance.left_out:
                logger.info("%d messages were not logged", allowance.left_out)
                allowance.left_out = 0
            logger.info("%s", line(message, config))
    return [(Output(SUCCESS, message),) for message in messages]


NODE = NodeSpec(
    type="log",
    summary="Writes one line per message to the process's log, up to a number per second.",
    config=Config,
    process_batch=process_batch,
    state=lambda config: Allowance(config.max_per_second, SystemClock()),
)
