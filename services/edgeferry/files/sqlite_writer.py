"""The one thread that writes to a SQLite file, many callers to a commit.

Whatever comes in while one transaction runs is the next one: no artificial wait, and the
busier it is the larger they are.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from edgeferry.core.errors import EdgeferryError

log = logging.getLogger(__name__)


class Job(Protocol):
    """What a caller hands in. A transaction takes what waits up to a sum of sizes."""

    @property
    def size(self) -> int: ...


AnyJob = TypeVar("AnyJob", bound=Job)
Done = TypeVar("Done")


@dataclass(slots=True)
class Pending(Generic[AnyJob]):
    """A job and its caller, who gets the outcome, or the error if there is one."""

    job: AnyJob
    done: "asyncio.Future[Any]"
    outcome: Any = None
    error: Exception | None = None


class GroupWriter(ABC, Generic[AnyJob, Done]):
    """Used from one event loop. A subclass says what a group's transaction does and what is
    told of it: all methods that it may override run in the writer's thread, but ``tell`` and
    ``closed``."""

    thread_name: ClassVar[str]
    group_size: ClassVar[int]
    fault: ClassVar[type[EdgeferryError]]
    """What only a mistake in this program explains."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[Pending[AnyJob] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.problem = ""
        """What the last transaction failed of; empty once one has written something again."""

    @abstractmethod
    def transact(self, connection: sqlite3.Connection, group: Sequence[Pending[AnyJob]]) -> Done:
        """Do all jobs, between BEGIN and COMMIT, and note their outcomes."""

    @abstractmethod
    def meaning_of(self, error: sqlite3.Error) -> EdgeferryError:
        """What it is to the callers of a transaction that failed of it."""

    @abstractmethod
    def closed(self) -> EdgeferryError:
        """What a caller gets who comes too early or too late."""

    def tell(self, done: Done, group: Sequence[Pending[AnyJob]]) -> None:
        """In the event loop after every commit."""
        settle(group)

    def open(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Take over a connection and start the thread."""
        self._connection = connection
        self._loop = loop
        self._thread = threading.Thread(
            target=self._run, args=(loop,), name=self.thread_name, daemon=True
        )
        self._thread.start()

    def refuse(self) -> None:
        """Take no more jobs; called in the event loop before ``close``."""
        self._loop = None

    def close(self) -> None:
        """Write what was handed in, then close. Not in the event loop's thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def write(self, job: AnyJob) -> Any:
        """The job's outcome, once it is durable. When it raises, nothing of it stands."""
        loop = self._loop
        if loop is None:
            raise self.closed()
        pending = Pending(job, loop.create_future())
        self._queue.put(pending)
        return await pending.done

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            group, go_on = self._next_group()
            if group:
                self.handle(loop, group)
            if not go_on:
                return

    def _next_group(self) -> tuple[list[Pending[AnyJob]], bool]:
        """Whatever waits, up to a limit; false when the writer is closing."""
        group: list[Pending[AnyJob]] = []
        size = 0
        pending = self._queue.get()
        while pending is not None:
            group.append(pending)
            size += pending.job.size
            if size >= self.group_size:
                return group, True
            try:
                pending = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def handle(self, loop: asyncio.AbstractEventLoop, group: Sequence[Pending[AnyJob]]) -> None:
        """Commit them together and tell their callers."""
        try:
            done = self.commit(group)
        except sqlite3.Error as failure:
            self._failed(loop, group, failure)
        except Exception as failure:
            log.exception(
                "%s: a transaction of %d callers failed for no known cause", self._path, len(group)
            )
            self._try_each(loop, group, failure)
        else:
            call_in(loop, self.tell, done, group)

    def _try_each(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Sequence[Pending[AnyJob]],
        failure: Exception,
    ) -> None:
        """Only who makes a transaction fail fails with it."""
        if len(group) == 1:
            self._failed(loop, group, failure)
            return
        for pending in group:
            pending.outcome = pending.error = None
            try:
                done = self.commit([pending])
            except Exception as error:
                self._failed(loop, [pending], error)
            else:
                call_in(loop, self.tell, done, [pending])

    def _failed(
        self,
        loop: asyncio.AbstractEventLoop,
        group: Sequence[Pending[AnyJob]],
        failure: Exception,
    ) -> None:
        error = self.meaning(failure)
        self.problem = str(error)
        for pending in group:
            pending.error = error
        call_in(loop, settle, group)

    def commit(self, group: Sequence[Pending[AnyJob]]) -> Done:
        """One transaction, all of it or nothing. Raises sqlite3.Error, or any fault."""
        connection = self.connected()
        execute, changes = connection.execute, connection.total_changes
        execute("BEGIN IMMEDIATE")
        try:
            done = self.transact(connection, group)
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise
        if connection.total_changes != changes:  # else it has not tried the disk
            self.problem = ""
        return done

    def connected(self) -> sqlite3.Connection:
        """Raises sqlite3.Error."""
        assert self._connection is not None
        return self._connection

    def meaning(self, failure: Exception) -> EdgeferryError:
        if isinstance(failure, EdgeferryError):
            return failure
        if isinstance(failure, sqlite3.Error):
            return self.meaning_of(failure)
        return self.fault(
            f"{self._path}: writing failed by a fault of this program "
            f"({type(failure).__name__}: {failure}): report it with the traceback in the "
            "process's log"
        )


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """A loop that is gone has nobody to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def settle(group: Sequence[Pending[Any]]) -> None:
    for pending in group:
        if pending.done.done():
            continue
        if pending.error is None:
            pending.done.set_result(pending.outcome)
        else:
            pending.done.set_exception(pending.error)
