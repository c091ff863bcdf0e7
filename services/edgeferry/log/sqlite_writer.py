"""The writer of the SQLite log's file: appends, and what changes anything else in it."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, LogFault, LogUnavailable
from edgeferry.core.record import Span
from edgeferry.files.sqlite_writer import GroupWriter, Pending, call_in, settle
from edgeferry.log.sqlite_file import connect, meaning_of
from edgeferry.log.sqlite_state import At, State, load_state
from edgeferry.log.sqlite_transaction import Appended, Row, Transaction

ROW_BYTES = 400
"""What a row costs beside its bytes, so a transaction ends at 10,000 rows."""

_PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Append:
    """Records of one caller and, for a hop, the offsets that become durable with them.
    ``size``: in bytes."""

    rows: dict[At, list[Row]] = field(default_factory=dict)
    size: int = 0
    group: str = ""
    done: Sequence[Span] = ()

    def apply(self, transaction: Transaction) -> None:
        transaction.append(self.rows, self.group, self.done)


@dataclass(frozen=True, slots=True)
class Change:
    """Anything else: runs in the transaction. It must find out what is wrong before it changes
    anything, for an EdgeferryError that it raises is its caller's alone."""

    work: Callable[[Transaction], Any]
    size: int = 0

    def apply(self, transaction: Transaction) -> Any:
        return self.work(transaction)


@dataclass(frozen=True, slots=True)
class Alone:
    """Runs between transactions."""

    work: Callable[[sqlite3.Connection], Any]
    size: int = 0


Job = Append | Change | Alone

Publish = Callable[[State, Mapping[At, Appended]], None]
"""Called in the event loop after every commit, before its callers go on."""


class _Committed(NamedTuple):
    """version: of the file, as its transaction found it."""

    version: int
    state: State
    appended: Mapping[At, Appended]


class SqliteLogWriter(GroupWriter[Job, _Committed]):
    """``write`` raises LogUnavailable, LogUnusable, AlreadyCommitted, LogFault. ``publish``:
    see Publish."""

    thread_name = "log-writer"
    group_size = 4_000_000
    fault = LogFault

    def __init__(self, *, path: Path, clock: Clock, publish: Publish) -> None:
        super().__init__(path)
        self._clock = clock
        self._publish = publish
        self._version: int | None = None
        self._state = State()

    def open(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._version = None  # it is the connection's own
        super().open(connection, loop)

    def handle(self, loop: asyncio.AbstractEventLoop, group: Sequence[Pending[Job]]) -> None:
        together: list[Pending[Job]] = []
        for pending in group:
            if isinstance(pending.job, Alone):
                if together:
                    super().handle(loop, together)
                    together = []
                self._alone(loop, pending, pending.job)
            else:
                together.append(pending)
        if together:
            super().handle(loop, together)

    def _alone(self, loop: asyncio.AbstractEventLoop, pending: Pending[Job], job: Alone) -> None:
        try:
            pending.outcome = job.work(self.connected())
        except Exception as failure:
            if not isinstance(failure, (sqlite3.Error, EdgeferryError)):
                log.exception("a job between transactions failed for no known cause")
            pending.error = self.meaning(failure)
        call_in(loop, settle, [pending])

    def commit(self, group: Sequence[Pending[Job]]) -> _Committed:
        done = super().commit(group)
        self._version, self._state = done.version, done.state
        return done

    def transact(self, connection: sqlite3.Connection, group: Sequence[Pending[Job]]) -> _Committed:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        # changed: a process beside us has written, or this is the first transaction
        draft = self._state.draft() if version == self._version else load_state(connection)
        transaction = Transaction(connection, draft, self._clock.now_ms(), self._path)
        for pending in group:
            _apply(pending, transaction)
        transaction.flush()
        return _Committed(version, draft, transaction.appended)

    def tell(self, done: _Committed, group: Sequence[Pending[Job]]) -> None:
        try:
            self._publish(done.state, done.appended)
        finally:  # it is durable, whoever hears of it
            settle(group)

    def connected(self) -> sqlite3.Connection:
        """Opened anew after an error that may have left it unusable."""
        if self._connection is None:
            self._version = None
            self._connection = connect(self._path)
        return self._connection

    def meaning_of(self, error: sqlite3.Error) -> EdgeferryError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in _PASSING and self._connection is not None:
            self._connection.close()
            self._connection = None
        return meaning_of(error, self._path)

    def closed(self) -> EdgeferryError:
        return LogUnavailable("the log is closing")


def _apply(pending: Pending[Job], transaction: Transaction) -> None:
    assert not isinstance(pending.job, Alone)
    try:
        pending.outcome = pending.job.apply(transaction)
    except EdgeferryError as error:
        # its own caller's alone: what it wanted is not in the transaction
        pending.error = error
