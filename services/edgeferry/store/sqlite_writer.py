"""The writer of the SQLite store's file: many rows to a statement.

Python gives up the GIL at each step of a statement and may wait milliseconds to get it
back from a busy event loop. So many rows go into one statement, and one statement is one
step.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, StoreFault, StoreUnavailable
from edgeferry.files.sqlite_writer import GroupWriter, Pending
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.sqlite_file import meaning_of

ROWS_PER_STATEMENT = 1024

Cell = int | float | str | bytes | None
Execute = Callable[[str, Sequence[Cell]], sqlite3.Cursor]
Result = TypeVar("Result")


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
    the rows of this job and of all handed in before it; what it gives is the job's outcome."""

    cells: dict[Insert, list[Cell]] = field(default_factory=dict)
    statements: list[tuple[str, Sequence[Cell]]] = field(default_factory=list)
    work: Callable[[Execute], object] | None = None

    def add(self, insert: Insert, cells: Sequence[Cell]) -> None:
        self.cells.setdefault(insert, []).extend(cells)

    @property
    def size(self) -> int:
        """In rows."""
        return sum(len(cells) // insert.width for insert, cells in self.cells.items())


class SqliteWriter(GroupWriter[Job, int]):
    """``write`` raises StoreUnavailable, StoreUnusable, StoreFault."""

    thread_name = "store-writer"
    group_size = 20_000
    fault = StoreFault

    def __init__(self, *, path: Path, clock: Clock, metrics: StoreMetrics) -> None:
        super().__init__(path)
        self._clock = clock
        self._metrics = metrics

    async def run(self, work: Callable[[Execute], Result], job: Job | None = None) -> Result:
        """What ``work`` gives, once it is durable; ``job``: rows that go before it.

        Raises StoreUnavailable, StoreUnusable, StoreFault: nothing of it stands."""
        job = job or Job()
        job.work = work
        return cast(Result, await self.write(job))

    def commit(self, group: Sequence[Pending[Job]]) -> int:
        begun = self._clock.monotonic()
        rows = super().commit(group)
        self._metrics.observe_batch(rows, 0, self._clock.monotonic() - begun)
        return rows

    def transact(self, connection: sqlite3.Connection, group: Sequence[Pending[Job]]) -> int:
        """How many rows."""
        execute = connection.execute
        rows = 0
        jobs: list[Job] = []
        for pending in group:
            jobs.append(pending.job)
            if pending.job.work is not None:
                rows += _insert(execute, jobs)
                pending.outcome = pending.job.work(execute)
                jobs = []
        return rows + _insert(execute, jobs)

    def meaning_of(self, error: sqlite3.Error) -> EdgeferryError:
        return meaning_of(error, self._path)

    def closed(self) -> EdgeferryError:
        return StoreUnavailable(f"{self._path} is not open for writing")


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
