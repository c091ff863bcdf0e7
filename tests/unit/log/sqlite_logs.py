"""Logs in a folder, and what stands in them."""

import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from edgeferry.core.clock import Clock, ManualClock
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import TopicSettings


def topic(name: str, partitions: int = 1, retention_ms: int | None = None) -> TopicSettings:
    return TopicSettings(name, "RuleMessage", partitions, retention_ms)


def numbered(name: str, start: int, stop: int) -> list[Outgoing]:
    """Records whose value is their number as decimal text."""
    return [Outgoing(name, b"k", b"%d" % number) for number in range(start, stop)]


@asynccontextmanager
async def opened(
    folder: Path, *, clock: Clock | None = None, owner: bool = True
) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(folder=folder, clock=clock or ManualClock(), owner=owner)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


def rows_of(log: SqliteLog, name: str, partition: int = 0) -> list[Record]:
    """All that the partition holds."""
    start, end = log.bounds(name, partition)
    found: list[Record] = []
    while start + len(found) < end:
        found += log.fetch(name, partition, start + len(found), 1_000, 1_000_000)
    return found


def numbers_of(log: SqliteLog, name: str) -> list[int]:
    return numbers(rows_of(log, name))


def numbers(rows: Sequence[Record]) -> list[int]:
    return [int(row.value or b"") for row in rows]


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """A disk that is full: writes past ``size`` fail in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
