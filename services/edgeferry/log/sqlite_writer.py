"""The one thread that writes to the SQLite log's file, many callers to a commit.

Whatever comes in while one transaction runs is the next one: no artificial wait, and the
busier it is the larger they are.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, LogFault, LogUnavailable
from edgeferry.core.record import Span
from edgeferry.log.sqlite_file import connect, meaning_of
from edgeferry.log.sqlite_state import At, State, load_state
from edgeferry.log.sqlite_transaction import Appended, Row, Transaction

GROUP_BYTES = 4_000_000
ROW_BYTES = 400
"""What a row costs beside its bytes, so a transaction ends at 10,000 rows."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Append:
    """Records of one caller and, for a hop, the offsets that become durable with them."""

    rows: dict[At, list[Row]] = field(default_factory=dict)
    bytes: int = 0
    group: str = ""
    done: Sequence[Span] = ()

    def apply(self, transaction: Transaction) -> None:
        transaction.append(self.rows, self.group, self.done)


@dataclass(frozen=True, slots=True)
class Change:
    """Anything else: runs in the transaction. It must find out what is wrong before it changes
    anything, for an EdgeferryError that it raises is its caller's alone."""

    work: Callable[[Transaction], Any]
    bytes: int = 0

    def apply(self, transaction: Transaction) -> Any:
        return self.work(transaction)


@dataclass(frozen=True, slots=True)
class Alone:
    """Runs between transactions."""

    work: Callable[[sqlite3.Connection], Any]
    bytes: int = 0


Job = Append | Change | Alone


@dataclass(slots=True)
class _Pending:
    job: Job
    done: "asyncio.Future[Any]"
    outcome: Any = None
    error: Exception | None = None


Publish = Callable[[State, Mapping[At, Appended]], None]
"""Called in the event loop after every commit, before its callers go on."""


class SqliteLogWriter:
    """Used from one event loop. ``publish``: see Publish."""

    def __init__(self, *, path: Path, clock: Clock, publish: Publish) -> None:
        self._path = path
        self._clock = clock
        self._publish = publish
        self._queue: SimpleQueue[_Pending | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None
        self._state = State()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.problem = ""
        """What the last transaction failed of; empty once one has written something again."""

    def open(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Take over a connection and start the thread."""
        self._connection = connection
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
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

    async def write(self, job: Job) -> Any:
        """Return when the job is durable. Raises LogUnavailable, LogUnusable,
        AlreadyCommitted, LogFault: nothing of it stands."""
        loop = self._loop
        if loop is None:
            raise LogUnavailable("the log is closing")
        pending = _Pending(job, loop.create_future())
        self._queue.put(pending)
        return await pending.done

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        while True:
            group, go_on = self._next_group()
            together: list[_Pending] = []
            for pending in group:
                if isinstance(pending.job, Alone):
                    self._commit(loop, together)
                    self._alone(loop, pending, pending.job)
                    together = []
                else:
                    together.append(pending)
            self._commit(loop, together)
            if not go_on:
                return

    def _next_group(self) -> tuple[list[_Pending], bool]:
        """Whatever waits, up to a limit; false when the writer is closing."""
        group: list[_Pending] = []
        size = 0
        pending = self._queue.get()
        while pending is not None:
            group.append(pending)
            size += pending.job.bytes
            if size >= GROUP_BYTES:
                return group, True
            try:
                pending = self._queue.get_nowait()
            except Empty:
                return group, True
        return group, False

    def _commit(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Pending]) -> None:
        if not group:
            return
        try:
            state, appended = self._transact(group)
        except sqlite3.Error as failure:
            self._failed(loop, group, self._meaning(failure))
        except Exception as failure:
            log.exception("a transaction of %d callers failed for no known cause", len(group))
            self._try_each(loop, group, failure)
        else:
            _call(loop, self._committed, state, appended, group)

    def _try_each(
        self, loop: asyncio.AbstractEventLoop, group: Sequence[_Pending], failure: Exception
    ) -> None:
        """Only who makes a transaction fail fails with it."""
        if len(group) == 1:
            self._failed(loop, group, self._meaning(failure))
            return
        for pending in group:
            pending.outcome = pending.error = None
            try:
                state, appended = self._transact([pending])
            except Exception as error:
                self._failed(loop, [pending], self._meaning(error))
            else:
                _call(loop, self._committed, state, appended, [pending])

    def _failed(
        self, loop: asyncio.AbstractEventLoop, group: Sequence[_Pending], error: EdgeferryError
    ) -> None:
        self.problem = str(error)
        for pending in group:
            pending.error = error
        _call(loop, _settle, group)

    def _committed(
        self, state: State, appended: Mapping[At, Appended], group: Sequence[_Pending]
    ) -> None:
        try:
            self._publish(state, appended)
        finally:  # it is durable, whoever hears of it
            _settle(group)

    def _transact(self, group: Sequence[_Pending]) -> tuple[State, Mapping[At, Appended]]:
        connection = self._connected()
        execute, changes = connection.execute, connection.total_changes
        execute("BEGIN IMMEDIATE")
        try:
            (version,) = execute("PRAGMA data_version").fetchone()
            # changed: a process beside us has written, or this is the first transaction
            draft = self._state.draft() if version == self._version else load_state(connection)
            transaction = Transaction(connection, draft, self._clock.now_ms(), self._path)
            for pending in group:
                _apply(pending, transaction)
            transaction.flush()
            execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._version, self._state = version, draft
        if connection.total_changes != changes:  # else it has not tried the disk
            self.problem = ""
        return draft, transaction.appended

    def _alone(self, loop: asyncio.AbstractEventLoop, pending: _Pending, job: Alone) -> None:
        try:
            pending.outcome = job.work(self._connected())
        except Exception as failure:
            if not isinstance(failure, (sqlite3.Error, EdgeferryError)):
                log.exception("a job between transactions failed for no known cause")
            pending.error = self._meaning(failure)
        _call(loop, _settle, [pending])

    def _connected(self) -> sqlite3.Connection:
        """Opened anew after an error that may have left it unusable."""
        if self._connection is None:
            self._version = None
            self._connection = connect(self._path)
        return self._connection

    def _meaning(self, failure: Exception) -> EdgeferryError:
        if isinstance(failure, EdgeferryError):
            return failure
        if not isinstance(failure, sqlite3.Error):
            return LogFault(
                f"{self._path}: writing failed by a fault of this program "
                f"({type(failure).__name__}: {failure}): report it with the traceback in the "
                "process's log"
            )
        code = getattr(failure, "sqlite_errorcode", 0) & 0xFF
        if code not in _PASSING and self._connection is not None:
            self._connection.close()
            self._connection = None
        return meaning_of(failure, self._path)


_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}


def _apply(pending: _Pending, transaction: Transaction) -> None:
    assert not isinstance(pending.job, Alone)
    try:
        pending.outcome = pending.job.apply(transaction)
    except EdgeferryError as error:
        # its own caller's alone: what it wanted is not in the transaction
        pending.error = error


def _call(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: Any) -> None:
    """A loop that is gone has nobody to tell."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)


def _settle(group: Sequence[_Pending]) -> None:
    for pending in group:
        if pending.done.done():
            continue
        if pending.error is None:
            pending.done.set_result(pending.outcome)
        else:
            pending.done.set_exception(pending.error)
