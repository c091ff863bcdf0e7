"""Logs in a folder, and what stands in them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgeferry.core.clock import Clock, ManualClock
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.sqlite_writer import Alone
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


async def in_one_transaction(log: SqliteLog, *works: Coroutine[Any, Any, Any]) -> list[Any]:
    """What they answer or raise; what each writes first stands in one transaction, in order."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        assert go_on.wait(20)

    holding = asyncio.create_task(log._writer.write(Alone(hold)))
    assert await asyncio.to_thread(begun.wait, 20)
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)  # each has handed in what it writes first
    go_on.set()
    await holding
    return await asyncio.gather(*tasks, return_exceptions=True)
