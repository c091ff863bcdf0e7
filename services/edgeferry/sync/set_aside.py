"""Events that cannot travel: dead letters at their sender, so that those behind them go on."""

import json
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.record import LogWriter, Outgoing, Record
from edgeferry.log.codec import encode_dead_letter
from edgeferry.log.topics import site_topic
from edgeferry.sync.inbox import Received

log = logging.getLogger(__name__)

Unfit = tuple[Record, Exception]
"""An event and why it cannot travel."""


class Aside(NamedTuple):
    """Events from ``first`` up to ``end`` (offsets) that were set aside and that no sent event
    has passed: the receiver cannot acknowledge them. ``log_id`` is of the log that they are in."""

    first: int = 0
    end: int = 0
    log_id: str = ""

    def holds(self, offset: int) -> bool:
        return self.first <= offset < self.end

    def passed(self, offset: int) -> int:
        """The first offset from this one on that still may travel."""
        return self.end if self.holds(offset) else offset

    def pack(self) -> str:
        return json.dumps(self._asdict())

    @staticmethod
    def unpack(text: str) -> "Aside":
        return Aside(**json.loads(text))


def sifted(
    records: Sequence[Record], pack: Callable[[Record], object]
) -> tuple[list[Record], list[Unfit]]:
    """Those that can be packed alone, and the others."""
    fit: list[Record] = []
    unfit: list[Unfit] = []
    for record in records:
        try:
            pack(record)
        except Exception as error:  # protobuf raises whatever a value leads it to
            unfit.append((record, error))
        else:
            fit.append(record)
    return fit, unfit


async def set_aside(
    unfit: Sequence[Unfit], *, lane: str, site: Received, writer: LogWriter
) -> None:
    """Return when their dead letters are durable. Raises LogUnavailable."""
    now = site.clock.now_ms()
    letters = []
    for record, error in unfit:
        text = f"this event cannot be sent: {type(error).__name__}: {error}"
        log.error("lane %s, offset %d: %s", lane, record.offset, text)
        letter = DeadLetter(
            key=record.key, value=record.value, headers=record.headers,
            topic=record.topic, partition=record.partition, offset=record.offset,
            site=site.site, chain="", node="sync",
            error_class="Unsendable", error_text=text,
            first_failure=now, last_failure=now, attempts=1,
        )  # fmt: skip
        topic = site_topic(site.site, "dead-letters")
        letters.append(Outgoing(topic, record.key, encode_dead_letter(letter)))
    await writer.append(letters)
    for _ in unfit:
        site.dead_lettered(lane)
