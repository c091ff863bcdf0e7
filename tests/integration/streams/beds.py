"""What a conformance test stands on: one log, its transport, a site's topics.

The same for every log: a test asks a bed and never learns which log it has.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import LogWriter, Outgoing, Record, Span, TransactionalWriter
from edgeferry.log.kafka_log import KafkaLog
from edgeferry.log.port import Log, PartitionLag
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import TopicSettings
from edgeferry.streams.open import open_transport
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment
from tests.integration.streams.harness import (
    FIRST,
    LAST,
    Arrived,
    CountingMetrics,
    Forward,
    judge,
    load,
    until,
)

PARTITIONS = 4


class Gate:
    """The log's writer for one runner: waits until it is opened, or fails while told to."""

    def __init__(self, inner: LogWriter, transactions: TransactionalWriter | None) -> None:
        self._inner = inner
        self._transactions = transactions
        self.opened = asyncio.Event()
        self.waiting = asyncio.Event()
        self.failures: list[Exception] = []

    @property
    def max_record_bytes(self) -> int:
        return self._inner.max_record_bytes

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self._pass()
        await self._inner.append(records)

    async def append_and_commit(
        self, records: Sequence[Outgoing], group: str, done: Sequence[Span]
    ) -> None:
        await self._pass()
        assert self._transactions is not None
        await self._transactions.append_and_commit(records, group, done)

    async def _pass(self) -> None:
        self.waiting.set()
        if self.failures:
            raise self.failures.pop(0)
        await self.opened.wait()


class Bed:
    """Use it between ``start`` and ``stop``."""

    def __init__(self, site: str, log: Log, *, slot: str | None = None) -> None:
        self.site = site
        self.log = log
        self._transport, self.transactions = open_transport(log, slot)
        self._runners: list[Runner] = []

    @property
    def writer(self) -> LogWriter:
        return self.log.writer

    async def start(self, *, between: Sequence[str] = ()) -> None:
        """between: topics beside the first, the last and the dead letters."""
        await self.log.start()
        await self.make_topics(between=between)

    async def make_topics(self, *, between: Sequence[str] = ()) -> None:
        await self.log.topics.ensure(
            [
                TopicSettings(f"{self.site}.{name}", value, PARTITIONS, None)
                for name, value in [
                    (FIRST, "RuleMessage"),
                    *((name, "RuleMessage") for name in between),
                    (LAST, "RuleMessage"),
                    ("dead-letters", "DeadLetter"),
                ]
            ]
        )

    async def stop(self) -> None:
        """Also the runners, which a test that fails leaves behind."""
        await asyncio.gather(*(runner.stop() for runner in self._runners))
        await self.log.stop()

    def gate(self) -> Gate:
        return Gate(self.writer, self.transactions)

    def runner(
        self,
        *processors: Forward,
        gate: Gate | None = None,
        writer: LogWriter | None = None,
        metrics: CountingMetrics | None = None,
    ) -> Runner:
        transactions = self.transactions and (gate or self.transactions)
        environment = Environment(
            self.site, gate or writer or self.writer, SystemClock(), transactions
        )
        made = Runner(list(processors), self._transport, environment, metrics or CountingMetrics())
        self._runners.append(made)
        return made

    async def load(
        self, start: int, stop: int, chunk: int = 500, writer: LogWriter | None = None
    ) -> None:
        await load(writer or self.writer, self.site, start, stop, chunk)

    async def read_all(self, name: str) -> list[Record]:
        """Everything that stands in a topic now, per partition in order."""
        topic, reader = f"{self.site}.{name}", self.log.reader
        found: list[Record] = []
        for partition, (offset, end) in (await reader.ends(topic)).items():
            while offset < end:
                records = await reader.read(topic, partition, offset, 4_000_000, 1_000)
                if records:
                    found += records
                    offset = records[-1].offset + 1
        return found

    async def count(self, name: str) -> int:
        ends = await self.log.reader.ends(f"{self.site}.{name}")
        return sum(end for _, end in ends.values())

    async def arrived(self, expected: int) -> Arrived:
        return judge(await self.read_all(LAST), expected)

    async def all_arrived(self, expected: int, seconds: float = 60.0) -> None:
        async def nothing_is_missing() -> bool:
            return (await self.arrived(expected)).missing == 0

        await until(nothing_is_missing, seconds, "not everything has arrived", every=0.2)

    async def committed(self) -> int:
        return sum(row.committed or 0 for row in await self._lag(FIRST))

    async def drained(self, *names: str, seconds: float = 60.0) -> None:
        """Return when every hop has committed to the end of its input."""

        async def lag_is_zero() -> bool:
            return not sum([row.lag for name in names or (FIRST,) for row in await self._lag(name)])

        await until(lag_is_zero, seconds, f"{self.site} is not drained")

    async def _lag(self, name: str) -> Sequence[PartitionLag]:
        topic = f"{self.site}.{name}"
        return await self.log.topics.lag(topic, [topic])


def kafka_bed(bootstrap: str, site: str, *, slot: str | None = None) -> Bed:
    return Bed(site, KafkaLog(bootstrap=bootstrap, replication=1, clock=SystemClock()), slot=slot)


def sqlite_bed(folder: Path, *, owner: bool = True) -> Bed:
    return Bed("edge", SqliteLog(folder=folder, clock=SystemClock(), owner=owner))


def refusal() -> LogUnavailable:
    return LogUnavailable("told to fail")
