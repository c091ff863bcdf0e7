"""A log and a position store in memory, as true to their ports as the tests need.

``tests/integration/sync/test_log_fakes.py`` holds them against Kafka.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping, Sequence

from edgeferry.core.clock import Clock
from edgeferry.core.errors import (
    LogUnavailable,
    OffsetOutOfRange,
    RecordTooLarge,
    StoreUnavailable,
)
from edgeferry.core.record import Outgoing, PartitionEnds, Record
from edgeferry.core.store import Position
from edgeferry.log.limits import is_dead_letters, whole_size
from edgeferry.sync.outbox_bytes import record_bytes


class MemoryLog:
    """Topics with partitions; survives its writers and readers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.partitions: dict[str, list[list[Record]]] = {}
        self.starts: dict[tuple[str, int], int] = {}
        self.committed: dict[tuple[str, str], dict[int, int]] = {}
        self.grown = asyncio.Event()

    def make(self, topic: str, partitions: int) -> None:
        self.partitions[topic] = [[] for _ in range(partitions)]

    def add(self, outgoing: Outgoing) -> None:
        partitions = self.partitions[outgoing.topic]
        number = zlib.crc32(outgoing.key or b"") % len(partitions)
        rows = partitions[number]
        rows.append(
            Record(
                outgoing.topic,
                number,
                len(rows),
                self.clock.now_ms(),
                outgoing.key,
                outgoing.value,
                list(outgoing.headers),
            )
        )
        self.grown.set()

    def trim(self, topic: str, partition: int, below: int) -> None:
        self.starts[topic, partition] = below

    def records(self, topic: str) -> list[Record]:
        return [record for rows in self.partitions[topic] for record in rows]


class MemoryWriter:
    """``fail_after``: how many records of the next append become durable before it fails;
    ``gate``: an append waits for it before it ends; ``limits``: what the log takes of a topic
    without having told it, as Kafka's own may."""

    def __init__(
        self,
        log: MemoryLog,
        max_record_bytes: int = 1_000_000,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self._log = log
        self._max = max_record_bytes
        self._limits = limits or {}
        self.fail_after: int | None = None
        self.gate: asyncio.Event | None = None
        self.under_way = 0
        self.stopped = False

    @property
    def max_record_bytes(self) -> int:
        return self._max

    async def append(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            if len(record.value) > self._max and not is_dead_letters(record.topic):
                raise RecordTooLarge(f"{len(record.value)} bytes")
        if self.stopped:
            raise LogUnavailable("stopped")
        self.under_way += 1
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
            for count, record in enumerate(records):
                if self.fail_after is not None and count >= self.fail_after:
                    raise LogUnavailable("made to fail")
                size = whole_size(record)
                if size > self._limits.get(record.topic, size):
                    raise RecordTooLarge(f"{size} bytes", record.topic, size)
                self._log.add(record)
        finally:
            self.under_way -= 1

    async def stop(self) -> None:
        self.stopped = True
        if self.gate is not None:
            self.fail_after = 0
            self.gate.set()


class MemoryReader:
    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.away = False

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        self._check()
        return {
            number: PartitionEnds(self.log.starts.get((topic, number), 0), len(rows))
            for number, rows in enumerate(self.log.partitions[topic])
        }

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        self._check()
        if offset < self.log.starts.get((topic, partition), 0):
            raise OffsetOutOfRange(f"{topic}-{partition} at {offset}")
        rows = self.log.partitions[topic][partition]
        deadline = asyncio.get_running_loop().time() + wait_ms / 1000
        while offset >= len(rows):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return []
            self.log.grown.clear()
            try:
                async with asyncio.timeout(left):
                    await self.log.grown.wait()
            except TimeoutError:
                return []
        found: list[Record] = []
        size = 0
        for record in rows[offset:]:
            size += len(record.value or b"") + len(record.key or b"")
            if found and size > max_bytes:
                break
            found.append(record)
        return found

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        self._check()
        self.log.committed.setdefault((group, topic), {}).update(offsets)

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        self._check()
        return dict(self.log.committed.get((group, topic), {}))

    def _check(self) -> None:
        if self.away:
            raise LogUnavailable("the log is away")


class MemoryTopics:
    """``counts``: whether the log keeps count of bytes."""

    def __init__(self, log: MemoryLog, *, counts: bool = True) -> None:
        self._log = log
        self._counts = counts
        self.away = False
        self.incarnation = ""

    async def topic_id(self, topic: str) -> str:
        return f"id of {topic}{self.incarnation}"

    async def drop(self, topic: str, below: Mapping[int, int]) -> int:
        if self.away:
            raise LogUnavailable("the log is away")
        count = 0
        for partition, offset in below.items():
            start = self._log.starts.get((topic, partition), 0)
            count += max(0, offset - start)
            self._log.trim(topic, partition, max(start, offset))
        return count

    async def held_bytes(self, topic: str, partition: int, offset: int) -> int | None:
        if not self._counts:
            return None
        return sum(map(record_bytes, self._log.partitions[topic][partition][offset:]))


class MemoryPositions:
    """``on_save``: called with every stream and position saved."""

    def __init__(self) -> None:
        self.saved: dict[str, Position] = {}
        self.away = False
        self.on_save: Callable[[str, Position], None] = lambda _stream, _position: None

    async def load(self, stream: str) -> Position | None:
        self._check()
        return self.saved.get(stream)

    async def all(self) -> Mapping[str, Position]:
        self._check()
        return dict(self.saved)

    async def save(self, stream: str, position: Position) -> None:
        self._check()
        await asyncio.sleep(0)
        self.saved[stream] = position
        self.on_save(stream, position)

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the store is away")
