"""Many callers to a transaction, and what each of them hears."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeferry.core.errors import EdgeferryError, LogFault, LogUnavailable
from edgeferry.files.sqlite import Opening
from edgeferry.files.sqlite_writer import GroupWriter, Pending

pytestmark = pytest.mark.asyncio

OPENING = Opening(makes=True, checkpoint_pages=100, journal_bytes=1_000_000, cached_statements=16)


@dataclass(frozen=True)
class Put:
    number: int
    size: int = 1
    fault: Callable[[], None] = lambda: None


class Writer(GroupWriter[Put, int]):
    thread_name = "numbers"
    group_size = 4
    fault = LogFault

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.groups: list[int] = []

    def transact(self, connection: sqlite3.Connection, group: Sequence[Pending[Put]]) -> int:
        for pending in group:
            connection.execute("INSERT INTO numbers VALUES (?)", (pending.job.number,))
            pending.outcome = pending.job.number
            pending.job.fault()
        return len(group)

    def tell(self, done: int, group: Sequence[Pending[Put]]) -> None:
        self.groups.append(done)
        super().tell(done, group)

    def meaning_of(self, error: sqlite3.Error) -> EdgeferryError:
        return LogUnavailable(str(error))

    def closed(self) -> EdgeferryError:
        return LogUnavailable("closed")


def stored(path: Path) -> list[int]:
    connection = OPENING.connect_to_read(path)
    try:
        return [row[0] for row in connection.execute("SELECT number FROM numbers")]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.db"


@pytest_asyncio.fixture
async def writer(path: Path) -> AsyncIterator[Writer]:
    connection = OPENING.connect(path)
    connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
    made = Writer(path)
    made.open(connection, asyncio.get_running_loop())
    yield made
    made.refuse()
    await asyncio.to_thread(made.close)


async def together(writer: Writer, *jobs: Put) -> list[Any]:
    """What they hear; all were handed in while one before them was under way."""
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert go_on.wait(20)

    first = asyncio.create_task(writer.write(Put(-1, writer.group_size, hold)))
    assert await asyncio.to_thread(begun.wait, 20)
    tasks = [asyncio.create_task(writer.write(job)) for job in jobs]
    await asyncio.sleep(0)
    go_on.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_is_one_transaction_up_to_its_size(writer: Writer, path: Path) -> None:
    jobs = [Put(1), Put(2), Put(3, size=2), Put(4), Put(5)]
    assert await together(writer, *jobs) == [1, 2, 3, 4, 5]
    assert writer.groups == [1, 3, 2]
    assert stored(path) == [-1, 1, 2, 3, 4, 5]


async def test_an_error_of_sqlite_is_that_of_the_whole_group(writer: Writer, path: Path) -> None:
    heard = await together(writer, Put(1), Put(1), Put(2))
    assert [type(one) for one in heard] == [LogUnavailable] * 3
    assert "UNIQUE" in writer.problem
    assert stored(path) == [-1]
    assert await writer.write(Put(3)) == 3
    assert writer.problem == ""


async def test_a_fault_is_its_own_callers_alone(
    writer: Writer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> None:
        raise ZeroDivisionError("here")

    first, failed, last = await together(writer, Put(1), Put(2, fault=fault), Put(3))
    assert (first, last) == (1, 3)
    assert isinstance(failed, LogFault)
    assert f"{path}: writing failed by a fault" in str(failed)
    assert "ZeroDivisionError: here" in str(failed)
    assert stored(path) == [-1, 1, 3]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_closing_writes_what_was_handed_in_and_takes_no_more(
    writer: Writer, path: Path
) -> None:
    tasks = [asyncio.create_task(writer.write(Put(number))) for number in range(10)]
    await asyncio.sleep(0)
    writer.refuse()
    with pytest.raises(LogUnavailable, match="closed"):
        await writer.write(Put(10))
    await asyncio.to_thread(writer.close)
    assert await asyncio.gather(*tasks) == list(range(10))
    assert stored(path) == list(range(10))


async def test_a_caller_that_has_gone_spoils_nothing(writer: Writer, path: Path) -> None:
    going = asyncio.create_task(writer.write(Put(1)))
    await asyncio.sleep(0)
    going.cancel()
    assert await writer.write(Put(2)) == 2
    assert going.cancelled()
    assert stored(path) == [1, 2]
