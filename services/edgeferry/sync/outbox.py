"""The sending half of a lane: its log, what it remembers, how far it is."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Record
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.port import GroupReader
from edgeferry.sync.flow import SendLane
from edgeferry.sync.resume import (
    Begin,
    LogFacts,
    Offer,
    SendMemory,
    Want,
    event_hash,
    offsets_to_check,
    resume,
)

_HELD_WAIT_MS = 5000
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


class TopicLog:
    """A topic with one partition as a lane's log."""

    def __init__(
        self,
        reader: GroupReader,
        *,
        topic: str,
        group: str,
        topic_id: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        """``topic_id``: gives the topic's identity, which changes when it is made anew."""
        self._reader = reader
        self._ask_id = topic_id
        self._topic = topic
        self._topic_id = ""
        self._group = group
        self._reading = asyncio.Lock()  # a reader serves one read of a partition at a time

    async def facts(self) -> LogFacts:
        if self._ask_id is not None and not self._topic_id:
            self._topic_id = await self._ask_id(self._topic)
        ends = (await self._reader.ends(self._topic))[0]
        return LogFacts(ends.start, ends.end, self._topic_id)

    async def read(self, offset: int, max_bytes: int, wait_ms: int) -> Sequence[Record]:
        async with self._reading:
            return await self._reader.read(self._topic, 0, offset, max_bytes, wait_ms)

    async def committed(self, offset: int) -> None:
        await self._reader.commit(self._group, self._topic, {0: offset})


class Backlog(NamedTuple):
    """What waits to be acknowledged: events, and the oldest one's time (ms; None: none)."""

    depth: int
    oldest_ms: int | None


class Outbox:
    """One lane that this side sends, over all sessions: one at a time uses it."""

    def __init__(self, *, lane: str, log: SendLog, positions: PositionStore, stream: str) -> None:
        """``stream``: the name under which the position store keeps this lane."""
        self.lane = lane
        self.log = log
        self._positions = positions
        self._stream = stream
        self._memory: SendMemory | None = None
        self._committed = -1
        self._facts = LogFacts(0, 0)
        self._oldest: tuple[int, int] | None = None

    async def offer(self) -> Offer:
        """Raises LogUnavailable, StoreUnavailable."""
        self._memory = _memory(await self._positions.load(self._stream))
        self._facts = await self.log.facts()
        epoch = self._memory.epoch if self._memory else 0
        return Offer(epoch, self._facts.start, self._facts.end)

    async def resume(self, want: Want, peer: str) -> Begin:
        """Where this session goes on; durable here when the epoch or the peer is new.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        hashes = {}
        for offset in offsets_to_check(self._memory, self._facts, want):
            records = await self.log.read(offset, 1, _HELD_WAIT_MS)
            if not records:  # a missing hash would pass for a trimmed event
                raise LogUnavailable(f"the log of lane {self.lane} gives no record at {offset}")
            if records[0].offset == offset:
                hashes[offset] = event_hash(records[0].value)
        begin = resume(self._memory, self._facts, want, peer, hashes)
        own = self._memory
        if own is None or (own.epoch, own.peer) != (begin.epoch, peer):
            await self._remember(
                SendMemory(begin.epoch, begin.offset, peer, self._facts.log_id, lost=begin.lost)
            )
        return begin

    async def acked(self, offset: int, last: bytes) -> None:
        """Keep how far the receiver is. Raises LogUnavailable, StoreUnavailable."""
        if self._memory is not None and (self._memory.acked, self._committed) != (offset, offset):
            await self._remember(self._memory._replace(acked=offset, last=last))

    async def _remember(self, memory: SendMemory) -> None:
        detail = json.dumps(
            {"log_id": memory.log_id, "last": memory.last.hex(), "lost": memory.lost}
        )
        await self._positions.save(
            self._stream, Position(memory.epoch, memory.acked, memory.peer, detail)
        )
        self._memory = memory
        await self.log.committed(memory.acked)
        self._committed = memory.acked

    async def end(self) -> int:
        """The offset of the next event. Raises LogUnavailable."""
        self._facts = await self.log.facts()
        return self._facts.end

    @property
    def remembered(self) -> tuple[int, int]:
        """Epoch and acked offset as last kept."""
        return (self._memory.epoch, self._memory.acked) if self._memory else (0, 0)

    async def backlog(self, lane: SendLane | None) -> Backlog:
        """``lane`` is this lane's session, None where there is none.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        if lane is None and self._memory is None:
            self._memory = _memory(await self._positions.load(self._stream))
        facts = await self.log.facts()
        acked = max(lane.acked if lane else self.remembered[1], facts.start)
        if acked >= facts.end:
            return Backlog(0, None)
        depth = facts.end - acked
        if lane is not None and lane.oldest_ms is not None:
            return Backlog(depth, lane.oldest_ms)
        if self._oldest is None or self._oldest[0] != acked:
            records = await self.log.read(acked, 1, _HELD_WAIT_MS)
            self._oldest = (acked, records[0].timestamp) if records else None
        return Backlog(depth, self._oldest[1] if self._oldest else None)


def _memory(position: Position | None) -> SendMemory | None:
    if position is None:
        return None
    detail = json.loads(position.detail)
    return SendMemory(
        epoch=position.epoch,
        acked=position.offset,
        peer=position.incarnation,
        log_id=detail["log_id"],
        last=bytes.fromhex(detail["last"]),
        lost=detail["lost"],
    )
