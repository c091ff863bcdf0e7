"""Events that the receiving site's log cannot hold: dead letters there, so that a lane goes on."""

import logging
from collections.abc import Callable, Sequence

from edgeferry.core.clock import Clock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.log.codec import decode_dead_letter, encode_dead_letter
from edgeferry.log.limits import MAX_DEAD_LETTER_BYTES, whole_size
from edgeferry.log.topics import site_topic
from edgeferry.sync.recovery import origin_of

RECORD_FRAMING = 256
REMEMBERED_SECONDS = 60.0
"""Then the log's limit may have been raised."""

_HEADER_FRAMING = 8

log = logging.getLogger(__name__)


class Oversized:
    """Of one lane in one session. What the log refuses by a limit of its own is not tried again
    for a while: each try costs more than the event."""

    def __init__(
        self, *, lane: str, topic: str, site: str, clock: Clock, dead_lettered: Callable[[], None]
    ) -> None:
        """``topic``: of the received events; ``dead_lettered``: called for each."""
        self._lane = lane
        self._topic = topic
        self._dead_topic = site_topic(site, "dead-letters")
        self._site = site
        self._clock = clock
        self._dead_lettered = dead_lettered
        self._letters: list[Outgoing] = []
        self._refused: dict[str, tuple[int, float]] = {}

    @property
    def refusing(self) -> bool:
        """Whether the log has refused an event by its own limit within the last minute."""
        return self._least_refused(self._topic) is not None

    def fitting(self, events: Sequence[Outgoing], limit: int) -> list[Outgoing]:
        """Those that the log takes; the next ``append`` has dead letters of the others.
        ``limit``: what the log says that it takes."""
        refused = self._least_refused(self._topic)
        return [event for event in events if self._fits(event, limit, refused)]

    def _fits(self, event: Outgoing, limit: int, refused: int | None) -> bool:
        if (size := record_size(event)) > limit:
            self._set_aside(event, f"event of {size} bytes; at most {limit} are taken here")
            return False
        if refused is not None and (size := whole_size(event)) >= refused:
            self._set_aside(
                event,
                f"event of {size} bytes; this site's log refuses it, max.message.bytes of "
                f"{self._topic} is below",
            )
            return False
        return True

    async def append(self, events: list[Outgoing], writer: LogWriter) -> None:
        """Return when all of the events are durable, or dead letters of them. What stands before
        an event that the log refuses may come twice: whoever hands events on takes it once.

        Raises LogUnavailable, also where not even a short dead letter is taken: then an operator
        has to act."""
        while True:
            try:
                await writer.append(events)
                break
            except RecordTooLarge as error:
                count = len(events)
                self._note(error, self._topic)
                events = self.fitting(events, writer.max_record_bytes)
                if len(events) == count:
                    raise _held_up(error) from error
        letters, self._letters = self._letters, []
        for letter in letters:
            await self._append_letter(letter, writer)

    async def _append_letter(self, letter: Outgoing, writer: LogWriter) -> None:
        while True:
            while self._is_large(letter) and (shorter := _shorter(letter)) != letter:
                letter = shorter
            try:
                return await writer.append([letter])
            except RecordTooLarge as error:
                if _shorter(letter) == letter:
                    raise _held_up(error) from error
                self._note(error, self._dead_topic)

    def _is_large(self, letter: Outgoing) -> bool:
        refused = self._least_refused(self._dead_topic)
        known = refused is not None and whole_size(letter) >= refused
        return known or record_size(letter) > MAX_DEAD_LETTER_BYTES

    def _note(self, error: RecordTooLarge, topic: str) -> None:
        """Raises LogUnavailable where the log does not say that it was one of these."""
        if error.topic != topic:
            raise _held_up(error) from error
        self._refused[topic] = error.size, self._clock.monotonic() + REMEMBERED_SECONDS

    def _least_refused(self, topic: str) -> int | None:
        size, until = self._refused.get(topic, (0, 0.0))
        return size if self._clock.monotonic() < until else None

    def _set_aside(self, event: Outgoing, text: str) -> None:
        now = self._clock.now_ms()
        self._dead_lettered()
        origin = origin_of(event.headers)
        offset = -1 if origin is None else origin.offset
        log.error("lane %s, offset %d: %s", self._lane, offset, text)
        letter = DeadLetter(
            key=event.key, value=event.value, headers=event.headers,
            topic=self._topic, partition=-1, offset=offset,
            site=self._site, chain="", node="sync",
            error_class="RecordTooLarge", error_text=text,
            first_failure=now, last_failure=now, attempts=1,
        )  # fmt: skip
        self._letters.append(Outgoing(self._dead_topic, letter.key, encode_dead_letter(letter)))


def _held_up(error: RecordTooLarge) -> LogUnavailable:
    return LogUnavailable(f"received events cannot be appended: {error}. Raise the limit")


def _shorter(record: Outgoing) -> Outgoing:
    """A dead letter without its value, then without key and headers; then as it is."""
    letter = decode_dead_letter(record.value)
    if letter.value is not None:
        text = f"{letter.error_text}; the sender's log alone holds it"
        letter = letter._replace(value=None, error_text=text)
    elif letter.key is not None or letter.headers:
        letter = letter._replace(key=None, headers=())
    return Outgoing(record.topic, letter.key, encode_dead_letter(letter))


def record_size(record: Outgoing) -> int:
    """Bytes in the log, at most."""
    size = RECORD_FRAMING + len(record.key or b"") + len(record.value)
    for name, value in record.headers:
        name_size = len(name) if name.isascii() else len(name.encode())
        size += name_size + len(value) + _HEADER_FRAMING
    return size
