"""Loads, processors and a reader that counts, for the transport's conformance suite.

A record's value is its id as decimal text and its key ``k<id % keys>``: ids rise per key.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiokafka
from aiokafka.structs import TopicPartition as KafkaPartition

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import LogWriter, Outgoing, Record
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import TopicSettings
from edgeferry.streams.kafka_transport import KafkaTransport
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment

PARTITIONS = 4
KEYS = 101

Hook = Callable[[Sequence[Record]], Awaitable[None]]


@dataclass
class CountingMetrics:
    """Counts what a worker reports."""

    batches: int = 0
    records: int = 0
    retries: int = 0
    dead_letters: int = 0
    last_lag: int | None = None

    def node(self, chain: str, node: str) -> "CountingMetrics":
        return self

    def batch(self, records_in: int, records_out: int, seconds: float, age_seconds: float) -> None:
        self.batches += 1
        self.records += records_in

    def retried(self) -> None:
        self.retries += 1

    def dead(self, count: int) -> None:
        self.dead_letters += count

    def lag(self, records: int) -> None:
        self.last_lag = records


async def _nothing(records: Sequence[Record]) -> None:
    """No hook."""


@dataclass
class Forward:
    """Passes every record on to ``<site>.out`` under its key."""

    site: str
    before: Hook = _nothing
    chain: str = "conformance"
    node: str = "forward"
    assignments: list[Mapping[TopicPartition, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.site}.in"

    @property
    def topics(self) -> tuple[str, ...]:
        return (f"{self.site}.in",)

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        await self.before(records)
        for record in records:
            assert record.value is not None
            outputs.records.append(Outgoing(f"{self.site}.out", record.key, record.value))

    async def delivered(self, records: Sequence[Record]) -> None:
        """Nothing is held."""

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        self.assignments.append(committed)


async def make_topics(bootstrap: str, site: str) -> None:
    await KafkaTopics(bootstrap).ensure(
        [
            TopicSettings(f"{site}.in", "RuleMessage", PARTITIONS, None),
            TopicSettings(f"{site}.out", "RuleMessage", PARTITIONS, None),
            TopicSettings(f"{site}.dead-letters", "DeadLetter", PARTITIONS, None),
        ]
    )


def numbered(site: str, start: int, stop: int, keys: int = KEYS) -> list[Outgoing]:
    return [
        Outgoing(f"{site}.in", f"k{id_ % keys}".encode(), str(id_).encode())
        for id_ in range(start, stop)
    ]


async def load(writer: LogWriter, site: str, start: int, stop: int, chunk: int = 500) -> None:
    for at in range(start, stop, chunk):
        await writer.append(numbered(site, at, min(at + chunk, stop)))


def runner(
    bootstrap: str,
    processor: Forward,
    *,
    writer: LogWriter,
    metrics: CountingMetrics | None = None,
    slot: str | None = None,
) -> Runner:
    return Runner(
        [processor],
        KafkaTransport(bootstrap, slot),
        Environment(processor.site, writer, SystemClock()),
        metrics or CountingMetrics(),
    )


def new_writer(bootstrap: str) -> KafkaWriter:
    return KafkaWriter(bootstrap, SystemClock())


@dataclass
class Arrived:
    """What stands in the output, judged."""

    distinct: int
    duplicates: int
    out_of_order: int
    missing: int


def judge(values: Sequence[tuple[bytes | None, int]], expected: int) -> Arrived:
    """Order counts among first occurrences, per key."""
    seen: set[int] = set()
    last: dict[bytes | None, int] = defaultdict(lambda: -1)
    out_of_order = 0
    for key, id_ in values:
        if id_ in seen:
            continue
        seen.add(id_)
        out_of_order += id_ < last[key]
        last[key] = max(id_, last[key])
    return Arrived(
        distinct=len(seen),
        duplicates=len(values) - len(seen),
        out_of_order=out_of_order,
        missing=expected - len(seen),
    )


async def read_all(bootstrap: str, topic: str) -> list[aiokafka.ConsumerRecord]:
    """Everything that stands in a topic now, per partition in order."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        tps = [KafkaPartition(topic, p) for p in await consumer._client._wait_on_metadata(topic)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning()
        found: list[aiokafka.ConsumerRecord] = []
        for tp in tps:
            while await consumer.position(tp) < ends[tp]:
                for records in (await consumer.getmany(tp, timeout_ms=1000)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def arrived(bootstrap: str, site: str, expected: int) -> Arrived:
    records = await read_all(bootstrap, f"{site}.out")
    return judge([(record.key, int(record.value or b"")) for record in records], expected)


async def drained(bootstrap: str, site: str, seconds: float = 60.0) -> None:
    """Return when the group has committed to the end of its input."""
    admin = KafkaTopics(bootstrap)
    await until(lambda: _lag_is_zero(admin, site), seconds, f"{site} is not drained")


async def _lag_is_zero(admin: KafkaTopics, site: str) -> bool:
    return sum(row.lag for row in await admin.lag(f"{site}.in", [f"{site}.in"])) == 0


async def until(
    condition: Callable[[], Awaitable[bool]], seconds: float, what: str, every: float = 0.05
) -> None:
    """Wait for a condition with a deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        if loop.time() > deadline:
            raise AssertionError(f"{what} after {seconds} s")
        await asyncio.sleep(every)


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
