"""The receiving half of a lane: appends what comes, keeps the position, finds it again."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.errors import (
    Later,
    LogUnavailable,
    OffsetOutOfRange,
    StoreUnavailable,
)
from edgeferry.core.record import (
    HEADER_CLOCK,
    HEADER_EDGE,
    HEADER_EPOCH,
    HEADER_OFFSET,
    LogReader,
    LogWriter,
    Outgoing,
)
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.topics import site_topic
from edgeferry.sync.batches import BatchUnpacker, Event, unpacked_size
from edgeferry.sync.flow import ReceiveLane
from edgeferry.sync.handed_on import Committed, HandedOn
from edgeferry.sync.oversized import RECORD_FRAMING, Oversized
from edgeferry.sync.recovery import Found, longest_prefix, origin_of
from edgeferry.sync.resume import Begin, Want, event_hash
from edgeferry.sync.sync_pb2 import Batch, Made

CHECKPOINT_SECONDS = 1.0
CHECKPOINT_RECORDS = 50_000
_APPEND_BYTES = 4_000_000
_SCAN_BYTES = 1_000_000
_SCAN_WAIT_MS = 5000
_OWN_HEADERS = 512

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Where received events go: the parts that all lanes of a site share."""

    site: str
    reader: LogReader
    positions: PositionStore
    clock: Clock
    dead_lettered: Callable[[str], None] = lambda _lane: None
    """Called with a lane for each event that became a dead letter instead."""
    committed: Committed | None = None
    """Of who hands the events on from the received topics."""


class Checkpoint(NamedTuple):
    """A position with the ends of the received topic's partitions at that moment.

    Everything of the stream above the position stands at or above those ends; nothing
    does when ``closed``. ``made``: the sender's log end as last told; ``lost``: events that
    were gone from it before they could come."""

    position: Want
    ends: Mapping[int, int]
    closed: bool
    made: int
    lost: int

    def pack(self) -> Position:
        detail = {
            "seen": self.position.seen,
            "last": self.position.last.hex(),
            "ends": self.ends,
            "closed": self.closed,
            "made": self.made,
            "lost": self.lost,
        }
        return Position(self.position.epoch, self.position.offset, "", json.dumps(detail))

    @staticmethod
    def unpack(stored: Position) -> "Checkpoint":
        detail = json.loads(stored.detail)
        return Checkpoint(
            Want(stored.epoch, stored.offset, detail["seen"], bytes.fromhex(detail["last"])),
            {int(partition): end for partition, end in detail["ends"].items()},
            detail["closed"],
            detail["made"],
            detail["lost"],
        )


class Inbox:
    """One lane of one edge for one session. Never has two appends under way, so the
    received topic has no gap below ``lane.durable``."""

    def __init__(
        self, *, lane: str, edge_id: str, stream: str, received: Received, ahead_ms: int = 0
    ) -> None:
        """``stream``: the name under which the position store keeps this lane. ``ahead_ms``:
        how far the sender's clock is ahead of ours."""
        self.name = lane
        self.topic = site_topic(received.site, lane)
        self.lane = ReceiveLane(Want(0, 0, 0))
        self.made = 0
        self.sent = 0
        self.oldest_age_ms: int | None = None
        self.all_below: int | None = None
        self.lost = 0
        self.handed = HandedOn(
            topic=self.topic, reader=received.reader, committed=received.committed
        )
        self._edge = edge_id.encode()
        self._clock_header = ((HEADER_CLOCK, b"%d" % ahead_ms),) if ahead_ms else ()
        self._stream = stream
        self._parts = received
        self._unpacker = BatchUnpacker()
        self._oversized = Oversized(
            lane=lane, topic=self.topic, site=received.site, clock=received.clock,
            dead_lettered=self._dead_lettered,
        )  # fmt: skip
        self._queue: deque[tuple[Batch, int]] = deque()
        self._wake = asyncio.Event()
        self.stored = asyncio.Event()
        self._closing = False
        self.failed = False
        self._closed_on_disk = False
        self._saved_at = received.clock.monotonic()
        self._since_saved = 0
        self._unsaved_begin = False  # then nothing may be appended before it is saved

    def told(self, made: Made) -> None:
        """What the sender says of its side."""
        self.made = max(self.made, made.end)
        self.sent = made.sent
        self.oldest_age_ms = made.oldest_age_ms if made.HasField("oldest_age_ms") else None
        self.all_below = made.all_below if made.HasField("all_below") else None

    async def recover(self) -> Want:
        """The position that is true in the received log, whatever happened before.

        Raises LogUnavailable, StoreUnavailable."""
        stored = await self._parts.positions.load(self._stream)
        if stored is not None:
            checkpoint = Checkpoint.unpack(stored)
            self.made, self.lost = checkpoint.made, checkpoint.lost
            self._closed_on_disk = checkpoint.closed
            position = checkpoint.position
            if not checkpoint.closed:
                position = longest_prefix(position, await self._scan(checkpoint))
            self.lane = ReceiveLane(position)
        return self.lane.position

    async def _scan(self, checkpoint: Checkpoint) -> list[Found]:
        found: list[Found] = []
        for partition, (start, end) in (await self._parts.reader.ends(self.topic)).items():
            offset = max(checkpoint.ends.get(partition, start), start)
            while offset < end:
                try:
                    records = await self._parts.reader.read(
                        self.topic, partition, offset, _SCAN_BYTES, _SCAN_WAIT_MS
                    )
                except OffsetOutOfRange:  # trimmed meanwhile
                    offset = (await self._parts.reader.ends(self.topic))[partition].start
                    continue
                if not records:
                    raise LogUnavailable(f"{self.topic}-{partition} gives no record at {offset}")
                for record in records:
                    origin = origin_of(record.headers)
                    if origin is None or origin[:2] != (self._edge, checkpoint.position.epoch):
                        continue
                    found.append(Found(origin.offset, event_hash(record.value)))
                offset = records[-1].offset + 1
        return found

    def begin(self, begin: Begin) -> None:
        """Raises ProtocolError."""
        if self.lane.begin(begin):
            self._begun(begin)

    def skip(self, begin: Begin) -> None:
        """The same in a running session. Raises ProtocolError."""
        self.lane.skip(begin)
        self._begun(begin)

    def _begun(self, begin: Begin) -> None:
        self._closed_on_disk = False
        self._unsaved_begin = True
        if begin.lost:
            self.lost += begin.lost
            log.error(
                "edge %s, lane %s: %d events are lost: %s",
                self._edge.decode(), self.name, begin.lost, begin.reason,
            )  # fmt: skip

    def put(self, batch: Batch) -> None:
        """Raises ProtocolError."""
        size = unpacked_size(batch)
        self.lane.take(batch.epoch, batch.from_offset, batch.next_offset, size)
        self._queue.append((batch, size))
        self._wake.set()

    async def run(self, writer: LogWriter) -> None:
        """Append until ``close``; sets ``stored`` after each append. Raises what ends the
        session: ProtocolError, LogUnavailable, StoreUnavailable."""
        opened = False
        while not self._closing:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            while not opened or self._unsaved_begin:
                await self._save(closed=False)
                opened = True
            self.failed = True  # until the append below has ended well
            next_offset, size, last, count = await self._append(writer)
            self.lane.stored(next_offset, size, last)
            self.failed = False
            self._since_saved += count
            self.stored.set()
            await self._save_when_due()

    async def _append(self, writer: LogWriter) -> tuple[int, int, bytes, int]:
        outgoing: list[Outgoing] = []
        last, total, next_offset = b"", 0, 0
        limit = writer.max_record_bytes
        while self._queue and total < _APPEND_BYTES:
            batch, size = self._queue.popleft()
            total += size
            next_offset = batch.next_offset
            events = self._unpacker.unpack(batch)
            last = event_hash(events[-1].value)
            received = self._received(batch.epoch, events)
            # A header takes 4 bytes of a batch beside its name and value, so a record (see
            # record_size) is below twice the batch: most batches need no look at each of theirs.
            if self._oversized.refusing or 2 * size + RECORD_FRAMING + _OWN_HEADERS > limit:
                received = self._oversized.fitting(received, limit)
            outgoing += received
        await self._oversized.append(outgoing, writer)
        return next_offset, total, last, len(outgoing)

    def _received(self, epoch: int, events: list[Event]) -> list[Outgoing]:
        topic, told = self.topic, self._clock_header
        edge, of_epoch = (HEADER_EDGE, self._edge), (HEADER_EPOCH, b"%d" % epoch)
        return [
            Outgoing(
                topic,
                key,
                value or b"",
                (*headers, *told, edge, of_epoch, (HEADER_OFFSET, b"%d" % offset)),
            )
            for offset, key, value, headers in events
        ]

    def _dead_lettered(self) -> None:
        self._parts.dead_lettered(self.name)
        self._since_saved += CHECKPOINT_RECORDS  # it leaves a hole: pass it as soon as it is in

    async def _save_when_due(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._saved_at >= CHECKPOINT_SECONDS or self._since_saved >= CHECKPOINT_RECORDS:
            try:
                await self._save(closed=False)
            except StoreUnavailable as error:
                # The last one kept still tells where to look, only from further back: a
                # store that is away is no reason to stop taking events into the log.
                self._saved_at = now
                log.warning("lane %s: position not kept yet: %s", self.name, error)

    async def _save(self, *, closed: bool) -> None:
        """Only between two appends: the ends are those of exactly this position."""
        ends = await self._parts.reader.ends(self.topic)
        checkpoint = Checkpoint(
            self.lane.position,
            {partition: ends[partition].end for partition in ends},
            closed,
            max(self.made, self.lane.durable),
            self.lost,
        )
        begun, self._unsaved_begin = self._unsaved_begin, False
        try:
            await self._parts.positions.save(self._stream, checkpoint.pack())
        except BaseException:
            self._unsaved_begin |= begun
            raise
        self._saved_at = self._parts.clock.monotonic()
        self._since_saved = 0
        self._closed_on_disk = closed

    async def close(self, running: "asyncio.Task[None]") -> None:
        """Wait for the append under way, whatever it takes; keep the exact position.

        ``running`` is the task of ``run``; what it raised has been seen by then."""
        self._closing = True
        self._wake.set()
        await asyncio.wait([running])  # never cancels it, also when this is cancelled
        if not running.cancelled():
            running.exception()
        if self.failed or self._closed_on_disk or self.lane.epoch == 0:
            return
        try:
            await self._save(closed=True)
        except Later as error:
            log.warning("lane %s: position not kept at the end of a session: %s", self.name, error)
