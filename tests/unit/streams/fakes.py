"""What stands around a batch: Faust's consumer below, log and processor above."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from faust.types import TP

from edgeferry.core.clock import ManualClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.codec import decode_dead_letter
from edgeferry.streams.delivery import Batch, BatchDelivery
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.streams.worker import Environment, Worker

TOPIC = "edge.in"
NOW_MS = 1_700_000_000_000
P0, P1 = TP(TOPIC, 0), TP(TOPIC, 1)


def record(
    offset: int,
    partition: int = 0,
    *,
    key: bytes | None = None,
    value: bytes | None = None,
    timestamp: int = 1_700_000_000_000,
) -> Record:
    """Key and value say the offset unless given."""
    text = str(offset).encode()
    return Record(
        TOPIC,
        partition,
        offset,
        timestamp,
        b"k" + text if key is None else key,
        text if value is None else value,
        (),
    )


def records(start: int, stop: int, partition: int = 0) -> list[Record]:
    return [record(offset, partition) for offset in range(start, stop)]


def batch(*of: Record, assigned: Mapping[TP, int] | None = None) -> Batch:
    ends = {TP(row.topic, row.partition): row.offset + 1 for row in of}
    return Batch(of, ends, assigned)


class FlowControl:
    """Suspended or not; what a delivery waits for."""

    def __init__(self) -> None:
        self.active = asyncio.Event()
        self.active.set()
        self.cleared = 0

    async def acquire(self) -> None:
        await self.active.wait()

    def suspend(self) -> None:
        self.active.clear()

    def clear(self) -> None:
        self.cleared += 1


@dataclass
class Settings:
    id: str = "edge.root"


@dataclass
class App:
    consumer_generation_id: int = 1
    should_stop: bool = False
    flow_control: FlowControl = field(default_factory=FlowControl)
    conf: Settings = field(default_factory=Settings)


@dataclass
class Transport:
    max_batch_records: int = 3


class ConsumerStopped(Exception):
    """As aiokafka's."""


class FaustConsumer:
    """The part of Faust's consumer that a delivery stands on."""

    consumer_stopped_errors = (ConsumerStopped,)

    def __init__(self, *assigned: TP) -> None:
        self.app = App()
        self.transport = Transport()
        self.flow_active = True
        self.should_stop = False
        self._read_offset: dict[TP, int | None] = dict.fromkeys(assigned)
        self._committed_offset: dict[TP, int | None] = dict.fromkeys(assigned)
        self.assigned = set(assigned)
        self.delivered: list[Batch] = []
        self.generations: list[int] = []
        self.commits: list[Mapping[TP, int]] = []
        self.commit_answers: list[bool] = []
        self.commit_gate: asyncio.Event | None = None
        self.fetches: list[tuple[Mapping[TP, Sequence[Record]], set[TP] | None]] = []
        self.runner_is_quick = False
        self.seeks = 0
        self.calls: list[str] = []

    def assignment(self) -> set[TP]:
        return self.assigned

    async def callback(self, message: Any) -> None:
        self.delivered.append(message.value)
        self.generations.append(message.generation_id)
        if self.runner_is_quick:
            message.value.done = True

    async def perform_seek(self) -> None:
        self.seeks += 1

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self.commit_gate is not None:
            await self.commit_gate.wait()
        self.commits.append(dict(offsets))
        return self.commit_answers.pop(0) if self.commit_answers else True

    async def _wait_next_records(self, timeout: float) -> Any:
        if not self.fetches:
            self.should_stop = True
            return {}, None
        return self.fetches.pop(0)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        self.calls.append("revoked")
        self.assigned -= revoked

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.calls.append("assigned")
        self.assigned |= assigned
        self.app.consumer_generation_id = generation_id

    def resume_flow(self) -> None:
        self.flow_active = True
        self.app.flow_control.active.set()

    def stop_flow(self) -> None:
        self.flow_active = False


class Consumer(BatchDelivery, FaustConsumer):
    """The delivery under test."""

    fetched: int = 0

    def after_fetch(self, count: int) -> None:
        self.fetched += count


Hook = Callable[[Sequence[Record]], Awaitable[None]]


async def _nothing(records: Sequence[Record]) -> None:
    """No hook."""


@dataclass
class FakeProcessor:
    """Passes every record on; ``before`` may raise."""

    before: Hook = _nothing
    name: str = "edge.chain.node"
    chain: str = "chain"
    node: str = "node"
    topics: tuple[str, ...] = (TOPIC,)
    tried: list[list[int]] = field(default_factory=list)
    assigned_with: list[Mapping[TopicPartition, int]] = field(default_factory=list)
    assigned_errors: list[Exception] = field(default_factory=list)
    delivered_offsets: list[int] = field(default_factory=list)

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        self.tried.append([row.offset for row in records])
        for row in records:
            outputs.records.append(Outgoing("edge.out", row.key, row.value or b""))
        await self.before(records)

    async def delivered(self, records: Sequence[Record]) -> None:
        self.delivered_offsets += [row.offset for row in records]

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        if self.assigned_errors:
            raise self.assigned_errors.pop(0)
        self.assigned_with.append(committed)


@dataclass
class FakeWriter:
    """A log in memory; raises ``errors`` first."""

    errors: list[Exception] = field(default_factory=list)
    appended: list[Outgoing] = field(default_factory=list)
    max_record_bytes: int = 1_000_000

    async def append(self, records: Sequence[Outgoing]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.appended += records

    def of(self, topic: str) -> list[Outgoing]:
        return [row for row in self.appended if row.topic == topic]


@dataclass
class FakeMetrics:
    batches: list[tuple[int, int, float, float]] = field(default_factory=list)
    retries: int = 0
    dead_letters: int = 0

    def batch(self, records_in: int, records_out: int, seconds: float, age_seconds: float) -> None:
        self.batches.append((records_in, records_out, seconds, age_seconds))

    def retried(self) -> None:
        self.retries += 1

    def dead(self, count: int) -> None:
        self.dead_letters += count

    def lag(self, records: int) -> None:
        """Not a worker's."""


class Bench:
    """A worker with everything around it in memory."""

    def __init__(self, before: Hook | None = None) -> None:
        self.processor = FakeProcessor() if before is None else FakeProcessor(before)
        self.writer = FakeWriter()
        self.metrics = FakeMetrics()
        self.clock = ManualClock(NOW_MS)
        environment = Environment("edge", self.writer, self.clock)
        self.worker = Worker(self.processor, environment, self.metrics)

    async def run(self, *rows: Record) -> Batch:
        made = batch(*rows)
        await self.worker.run(made)
        return made

    def passed_on(self) -> list[int]:
        return [int(row.value) for row in self.writer.of("edge.out")]

    def letters(self) -> list[DeadLetter]:
        return [decode_dead_letter(row.value) for row in self.writer.of("edge.dead-letters")]
