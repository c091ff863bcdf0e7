"""The one thread that writes to the SQLite file, many callers to a commit.

Python gives up the GIL at each step of a statement and may wait milliseconds to get it
back from a busy event loop. So many rows go into one statement, and one statement is one
step.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar, cast

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, StoreFault, StoreUnavailable
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.sqlite_file import meaning_of, open_for_writing

ROWS_PER_STATEMENT = 1024
ROWS_PER_COMMIT = 20_000

Cell = int | float | str | bytes | None
Execute = Callable[[str, Sequence[Cell]], sqlite3.Cursor]
Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Insert(NamedTuple):
    """A multi-row insert: ``head`` VALUES (...), (...) ``tail``; ``width`` cells a row.

    It must be idempotent: the last chunk is filled up with copies of its last row, so
    that few different statements exist."""

    head: str
    width: int
    tail: str

    def sql(self, rows: int) -> str:
        return _insert_sql(self, rows)


@cache
def _insert_sql(insert: Insert, rows: int) -> str:
    row = "(" + ",".join("?" * insert.width) + ")"
    return f"{insert.head} VALUES {','.join([row] * rows)} {insert.tail}"


@dataclass(slots=True)
class Job:
    """Rows of one caller, flat per insert, and the statements that run before them.

    work: what reads before it writes. It runs in the writer's thread and transaction, after
    the rows of this job and of all handed in before it; ``result`` is what it gave."""

    cells: dict[Insert, list[Cell]] = field(default_factory=dict)
    statements: list[tuple[str, Sequence[Cell]]] = field(default_factory=list)
    work: Callable[[Execute], object] | None = None
    result: object = None

    def add(self, insert: Insert, cells: Sequence[Cell]) -> None:
        self.cells.setdefault(insert, []).extend(cells)

    @property
    def rows(self) -> int:
        return sum(len(cells) // insert.width for insert, cells in self.cells.items())


@dataclass(frozen=True, slots=True)
class _Pending:
    job: Job
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]


class SqliteWriter:
    """Started and stopped with the store. ``write`` may be called from one event loop."""

    def __init__(self, *, path: Path, clock: Clock, metrics: StoreMetrics) -> None:
        self._path = path
        self._clock = clock
        self._metrics = metrics
        self._queue: SimpleQueue[_Pending | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._taking = False
        self.problem = ""
        """What the last transaction failed of; empty once one has written something again."""

    def open(self) -> sqlite3.Connection:
        """Open the file and start the thread. Raises StoreUnusable, StoreUnavailable."""
        self._connection = open_for_writing(self._path)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()
        self._taking = True
        return self._connection

    def refuse(self) -> None:
        """Take no more jobs; called in the event loop's thread before ``close``."""
        self._taking = False

    def close(self) -> None:
        """Write what was handed in, then close."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def write(self, job: Job) -> None:
        """Return when the job is durable. Raises StoreUnavailable, StoreUnusable, StoreFault:
        nothing of it stands."""
        if not self._taking:
            raise StoreUnavailable(f"{self._path} is not open for writing")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Pending(job, loop, done))
        await done

    async def run(self, work: Callable[[Execute], Result], job: Job | None = None) -> Result:
        """What ``work`` gives, once it is durable; ``job``: rows that go before it.

        Raises StoreUnavailable, StoreUnusable, StoreFault: nothing of it stands."""
        job = job or Job()
        job.work = work
        await self.write(job)
        return cast(Result, job.result)

    def _run(self) -> None:
        while True:
            group, go_on = self._next_group()
            if group:
                self._commit(group)
            if not go_on:
                return

    def _next_group(self) -> tuple[list[_Pending], bool]:
        """Whatever waits, up to a limit of rows; false when the writer is closing."""
        first = self._queue.get()
        if first is None:
            return [], False
        group = [first]
        rows = first.job.rows
        while rows < ROWS_PER_COMMIT:
            try:
                pending = self._queue.get_nowait()
            except Empty:
                break
            if pending is None:
                return group, False
            group.append(pending)
            rows += pending.job.rows
        return group, True

    def _commit(self, group: list[_Pending]) -> None:
        try:
            self._write_all(group)
        except sqlite3.Error as failure:
            self._failed(group, meaning_of(failure, self._path))
        except Exception as failure:
            log.exception("a transaction of %d callers failed for no known cause", len(group))
            self._try_each(group, failure)

    def _write_all(self, group: list[_Pending]) -> None:
        begun = self._clock.monotonic()
        rows = self._transact([pending.job for pending in group])
        self._metrics.observe_batch(rows, 0, self._clock.monotonic() - begun)
        _resolve(group, None)

    def _try_each(self, group: list[_Pending], failure: Exception) -> None:
        """Only who makes a transaction fail fails with it."""
        if len(group) == 1:
            self._failed(group, self._fault(failure))
            return
        for pending in group:
            try:
                self._write_all([pending])
            except sqlite3.Error as error:
                self._failed([pending], meaning_of(error, self._path))
            except Exception as error:
                self._failed([pending], self._fault(error))

    def _failed(self, group: list[_Pending], error: EdgeferryError) -> None:
        self.problem = str(error)
        _resolve(group, error)

    def _fault(self, failure: Exception) -> StoreFault:
        return StoreFault(
            f"{self._path}: writing failed by a fault of this program "
            f"({type(failure).__name__}: {failure}): report it with the traceback in the "
            "process's log"
        )

    def _transact(self, jobs: list[Job]) -> int:
        assert self._connection is not None
        execute, changes = self._connection.execute, self._connection.total_changes
        rows = 0
        execute("BEGIN IMMEDIATE")
        try:
            begin = 0
            for end, job in enumerate(jobs, 1):
                if job.work is not None:
                    rows += _insert(execute, jobs[begin:end])
                    job.result = job.work(execute)
                    begin = end
            rows += _insert(execute, jobs[begin:])
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        if self._connection.total_changes != changes:  # else it has not tried the disk
            self.problem = ""
        return rows


def _insert(execute: Execute, jobs: list[Job]) -> int:
    """The statements of all, then their rows together; how many rows."""
    for job in jobs:
        for sql, cells in job.statements:
            execute(sql, cells)
    rows = 0
    for insert, flat in _merged(jobs).items():
        rows += len(flat) // insert.width
        for sql, chunk in chunks(insert, flat):
            execute(sql, chunk)
    return rows


def _merged(jobs: list[Job]) -> dict[Insert, list[Cell]]:
    if len(jobs) == 1:
        return jobs[0].cells
    merged: dict[Insert, list[Cell]] = {}
    for job in jobs:
        for insert, cells in job.cells.items():
            merged.setdefault(insert, []).extend(cells)
    return merged


def chunks(insert: Insert, flat: list[Cell]) -> list[tuple[str, list[Cell]]]:
    """Full statements, then one of the next power of two, filled up with its last row."""
    width = insert.width
    full = ROWS_PER_STATEMENT * width
    chunks = []
    position = 0
    while len(flat) - position >= full:
        chunks.append((insert.sql(ROWS_PER_STATEMENT), flat[position : position + full]))
        position += full
    rest = flat[position:]
    if rest:
        rows = len(rest) // width
        size = 1 << (rows - 1).bit_length()
        chunks.append((insert.sql(size), rest + rest[-width:] * (size - rows)))
    return chunks


def _resolve(group: list[_Pending], error: EdgeferryError | None) -> None:
    """Tell the callers; a loop that is gone has nobody to tell."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for pending in group:
        by_loop.setdefault(pending.loop, []).append(pending.done)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, error)


def _settle(futures: list[asyncio.Future[None]], error: EdgeferryError | None) -> None:
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
