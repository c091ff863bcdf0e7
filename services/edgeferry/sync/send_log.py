"""A lane's ordered log, as the sending half needs it, and a topic as one."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from edgeferry.core.record import Record
from edgeferry.log.port import GroupReader
from edgeferry.sync.outbox_bytes import SampledBytes
from edgeferry.sync.resume import LogFacts

HELD_WAIT_MS = 5000
"""For records that the log holds: as long as a log that answers at all may take."""


class SendLog(Protocol):
    """A lane's ordered log. All calls raise LogUnavailable (Later)."""

    async def facts(self) -> LogFacts: ...

    async def read(self, offset: int, max_bytes: int, wait_ms: int) -> Sequence[Record]:
        """At least one record when there is one; empty after ``wait_ms`` with none.

        Raises OffsetOutOfRange (below the log's start)."""
        ...

    async def committed(self, offset: int) -> None:
        """Everything below is acknowledged: for trimming and for lag."""
        ...

    async def acknowledged(self) -> int | None:
        """What was committed last; None: nothing yet, or it is not kept."""
        ...

    async def drop(self, below: int) -> None:
        """Delete everything below, acknowledged or not."""
        ...

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]:
        """Bytes of the records from ``offset`` up to the log's ``end``; whether they were
        counted (else reckoned from samples)."""
        ...


class OutboxTopics(Protocol):
    """What of ``log.port.Topics`` an outbox needs."""

    async def topic_id(self, topic: str) -> str: ...

    async def drop(self, topic: str, below: Mapping[int, int]) -> int: ...

    async def held_bytes(self, topic: str, partition: int, offset: int) -> int | None: ...


class TopicLog:
    """A topic with one partition as a lane's log."""

    def __init__(
        self,
        reader: GroupReader,
        *,
        topic: str,
        group: str,
        topics: OutboxTopics,
        random: Callable[[], float] = random.random,
    ) -> None:
        """``random``: chooses where samples are taken, from 0 up to 1."""
        self._reader = reader
        self._topics = topics
        self._topic = topic
        self._topic_id = ""
        self._group = group
        self._sampled = SampledBytes(random)

    async def facts(self) -> LogFacts:
        if not self._topic_id:
            self._topic_id = await self._topics.topic_id(self._topic)
        ends = (await self._reader.ends(self._topic))[0]
        return LogFacts(ends.start, ends.end, self._topic_id)

    async def read(self, offset: int, max_bytes: int, wait_ms: int) -> Sequence[Record]:
        return await self._reader.read(self._topic, 0, offset, max_bytes, wait_ms)

    async def committed(self, offset: int) -> None:
        await self._reader.commit(self._group, self._topic, {0: offset})

    async def acknowledged(self) -> int | None:
        return (await self._reader.committed(self._group, self._topic)).get(0)

    async def drop(self, below: int) -> None:
        await self._topics.drop(self._topic, {0: below})

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]:
        held = await self._topics.held_bytes(self._topic, 0, offset)
        if held is not None:
            return held, True
        return await self._sampled.between(offset, end, self._sample)

    async def _sample(self, offset: int, max_bytes: int) -> Sequence[Record]:
        return await self.read(offset, max_bytes, HELD_WAIT_MS)
