"""Records that the log refuses for their size, by its own limit: what is as large is not tried
again for a while, so that it costs its own message and nobody else.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from edgeferry.core.clock import Clock
from edgeferry.core.errors import RecordTooLarge, Stop
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.log.limits import is_dead_letters, too_large, whole_size
from edgeferry.log.topics import site_topic

REMEMBERED_SECONDS: Final = 60.0
"""Then a limit may have been raised."""

SURE_BYTES: Final = 4_096
"""What is not larger no log refuses."""

_EVENTS: Final = (
    "cloud-events", "cloud-events-ts", "edge-events", "edge-events-ts", "attribute-changes",
    "device-commands",
)  # fmt: skip


def event_topics(site: str) -> frozenset[str]:
    """Of what a message is pushed as."""
    return frozenset(site_topic(site, name) for name in _EVENTS)


def in_turn(events: frozenset[str], records: Sequence[Outgoing]) -> list[Sequence[Outgoing]]:
    """For a log that may refuse one of them and keep the others: what a message is pushed as
    (into the topics ``events``) before what says that it was. All at once where none is large
    enough to be refused."""
    first = [record for record in records if record.topic in events]
    if not first or all(whole_size(record) <= SURE_BYTES for record in first):
        return [records]
    return [first, [record for record in records if record.topic not in events]]


class Refusals:
    """``name``: of the processor that makes the records."""

    def __init__(self, name: str, clock: Clock, writer: LogWriter) -> None:
        self._name = name
        self._clock = clock
        self._writer = writer
        self._refused: dict[str, tuple[int, float]] = {}

    def note(self, error: RecordTooLarge) -> None:
        """Raises Stop where it is no message that is to blame: a dead letter cannot be
        written, or the log does not say which record it was."""
        topic, size = error.topic, error.size
        made = f"{self._name} made a record that is too large: {error}"
        if is_dead_letters(topic):
            raise Stop(
                f"{made}. Raise the limit of that topic and start again: nothing is lost"
            ) from error
        if not topic or size >= self._known(topic, size + 1):
            raise Stop(made) from error
        self._refused[topic] = size, self._clock.monotonic() + REMEMBERED_SECONDS

    def _known(self, topic: str, otherwise: int) -> int:
        size, until = self._refused.get(topic, (otherwise, 0.0))
        return size if self._clock.monotonic() < until else otherwise

    def check(self, records: Iterable[Outgoing]) -> None:
        """Raises RecordTooLarge."""
        limit, refused = self._writer.max_record_bytes, self._refused
        for record in records:
            size, topic = len(record.value), record.topic
            if size > limit and not is_dead_letters(topic):
                raise too_large(record, size, limit)
            if topic in refused:
                whole = whole_size(record)
                if whole >= self._known(topic, whole + 1):
                    raise RecordTooLarge(
                        f"the log refuses records of {whole} bytes for {topic}: they are above "
                        "the limit of that topic",
                        topic,
                        whole,
                    )
