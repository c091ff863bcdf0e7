"""Reading the SQLite log's file beside its writer."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Record
from edgeferry.log.sqlite_file import connect_to_read, damaged, meaning_of
from edgeferry.log.sqlite_records import HeadersCodec, select_records
from edgeferry.log.sqlite_state import At, Bounds, State, load_state

T = TypeVar("T")


class SqliteLogReader:
    """Two connections: ``near`` for short looks in the event loop, ``far`` for what may have
    to wait for the disk, in a thread, one at a time."""

    def __init__(self, path: Path, codec: HeadersCodec) -> None:
        self._path = path
        self._codec = codec
        self._near: sqlite3.Connection | None = None
        self._far: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._version: int | None = None

    def open(self) -> None:
        """Raises sqlite3.Error."""
        self._near = connect_to_read(self._path)
        self._far = connect_to_read(self._path)
        self._version = None

    def close(self) -> None:
        """Waits for what ``far`` is doing. Not in the event loop's thread."""
        with self._turn:
            for connection in (self._near, self._far):
                if connection is not None:
                    connection.close()
            self._near = self._far = None

    def near(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises LogUnavailable, LogUnusable."""
        return self._with(self._near, work)

    async def far(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Raises LogUnavailable, LogUnusable."""

        def turn() -> T:
            with self._turn:
                return self._with(self._far, work)

        return await asyncio.to_thread(turn)

    def _with(
        self, connection: sqlite3.Connection | None, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        if connection is None:
            raise LogUnavailable("the log is closing")
        try:
            return work(connection)
        except sqlite3.Error as error:
            raise meaning_of(error, self._path) from error

    def changed_state(self) -> State | None:
        """The file's state when somebody has written since the last call."""
        return self.near(self._changed_state)

    def _changed_state(self, connection: sqlite3.Connection) -> State | None:
        connection.execute("BEGIN")
        try:
            # a look at a table first: it is what begins the transaction
            connection.execute("SELECT count(*) FROM topics").fetchone()
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version == self._version:
                return None
            state = load_state(connection)
        finally:
            connection.execute("ROLLBACK")
        self._version = version
        return state

    def records(
        self,
        connection: sqlite3.Connection,
        at: At,
        bounds: Bounds,
        offset: int,
        max_records: int,
        max_bytes: int,
    ) -> Sequence[Record]:
        """From an offset that the partition holds. Raises sqlite3.Error, LogUnusable."""
        topic, partition = at
        decode = self._codec.decode
        stop = min(offset + max_records, bounds.end)
        rows = connection.execute(
            select_records(bounds.table), (offset, stop, max_bytes)
        ).fetchall()
        if not rows or rows[0][0] != offset:
            if _start_in_file(connection, bounds) > offset:
                return []  # deleted a moment ago, which will be told in another moment
            raise damaged(self._path, f"offset {offset} of {topic}-{partition} is missing")
        if rows[-1][0] - offset != len(rows) - 1:
            missing = next(at for at, row in enumerate(rows, offset) if row[0] != at)
            raise damaged(self._path, f"offset {missing} of {topic}-{partition} is missing")
        return [
            Record(topic, partition, found, timestamp, key, value, decode(headers))
            for found, timestamp, key, headers, value in rows
        ]


def total_below(connection: sqlite3.Connection, bounds: Bounds, offset: int) -> int:
    """Bytes ever appended below an offset. Raises sqlite3.Error."""
    if offset <= bounds.start:
        return bounds.start_total
    if offset >= bounds.end:
        return bounds.total
    # not "=": it may just have been deleted
    row = connection.execute(
        f"SELECT total FROM {bounds.table} WHERE offset >= ? ORDER BY offset LIMIT 1",
        (offset - 1,),
    ).fetchone()
    return int(row[0]) if row else bounds.total


def first_since(connection: sqlite3.Connection, bounds: Bounds, since_ms: int, below: int) -> int:
    """The first offset whose record was appended at ``since_ms`` or later; at most ``below``.
    Timestamps rise but for jumps of the clock. Raises sqlite3.Error."""
    sql = f"SELECT timestamp FROM {bounds.table} WHERE offset = ?"
    low, high = bounds.start, below
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(sql, (middle,)).fetchone()
        if row is None or row[0] < since_ms:
            low = middle + 1
        else:
            high = middle
    return low


def _start_in_file(connection: sqlite3.Connection, bounds: Bounds) -> int:
    row = connection.execute(
        "SELECT start FROM partitions WHERE topic = ? AND partition = ?", bounds.place
    ).fetchone()
    return int(row[0]) if row else bounds.end
