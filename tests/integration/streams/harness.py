"""Loads, processors and a judge, for the transports' conformance suite.

A record's value is its id as decimal text and its key ``k<id % keys>``: ids rise per key.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeferry.core.record import LogWriter, Outgoing, Record
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.streams.runner import Runner

KEYS = 101
FIRST = "in"
LAST = "out"

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
    """Passes every record on to another topic of the site under its key."""

    site: str
    before: Hook = _nothing
    source: str = FIRST
    target: str = LAST
    chain: str = "conformance"
    node: str = "forward"
    assignments: list[Mapping[TopicPartition, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.site}.{self.source}"

    @property
    def topics(self) -> tuple[str, ...]:
        return (f"{self.site}.{self.source}",)

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        await self.before(records)
        for record in records:
            assert record.value is not None
            outputs.records.append(Outgoing(f"{self.site}.{self.target}", record.key, record.value))

    async def delivered(self, records: Sequence[Record]) -> None:
        """Nothing is held."""

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        self.assignments.append(committed)


def chain(site: str, hops: int) -> list[Forward]:
    """``in`` -> ``hop1`` -> ... -> ``out``."""
    between = [f"hop{hop}" for hop in range(1, hops)]
    return [
        Forward(site, source=source, target=target)
        for source, target in zip([FIRST, *between], [*between, LAST], strict=True)
    ]


def numbered(site: str, start: int, stop: int, keys: int = KEYS) -> list[Outgoing]:
    return [
        Outgoing(f"{site}.{FIRST}", f"k{id_ % keys}".encode(), str(id_).encode())
        for id_ in range(start, stop)
    ]


async def load(writer: LogWriter, site: str, start: int, stop: int, chunk: int = 500) -> None:
    for at in range(start, stop, chunk):
        await writer.append(numbered(site, at, min(at + chunk, stop)))


@dataclass
class Arrived:
    """What stands in the output, judged."""

    distinct: int
    duplicates: int
    out_of_order: int
    missing: int


def judge(records: Sequence[Record], expected: int) -> Arrived:
    """Order counts among first occurrences, per key."""
    seen: set[int] = set()
    last: dict[bytes | None, int] = defaultdict(lambda: -1)
    out_of_order = 0
    for record in records:
        key, id_ = record.key, int(record.value or b"")
        if id_ in seen:
            continue
        seen.add(id_)
        out_of_order += id_ < last[key]
        last[key] = max(id_, last[key])
    return Arrived(
        distinct=len(seen),
        duplicates=len(records) - len(seen),
        out_of_order=out_of_order,
        missing=expected - len(seen),
    )


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


def consumer_of(running: Runner) -> Any:
    """The Faust consumer of a runner's only App."""
    (only,) = running._running
    return only._app.consumer


def positions(running: Runner) -> int:
    """How many records of the topic were delivered to a runner's only App."""
    return sum(offset or 0 for offset in consumer_of(running)._read_offset.values())


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
