"""What all our SQLite files have in common: how they are opened and looked through."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.errors import EdgeferryError

OLDEST_SQLITE = (3, 38, 0)
BUSY_SECONDS = 5.0
"""So long another process that writes is waited for."""

CHECKED_BYTES = 16 * 1024 * 1024
"""A file up to this size is examined at every start (some 50 ms)."""
CHECKED_BYTES_AFTER_A_KILL = 128 * 1024 * 1024
"""Some 0.4 s, more on a slow disk."""

Meaning = Callable[[sqlite3.Error, Path], EdgeferryError]
"""What an error of SQLite is to whoever uses the file."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How files of one kind are opened. ``makes``: also one that is not there yet."""

    makes: bool
    checkpoint_pages: int
    journal_bytes: int
    cached_statements: int

    def connect(self, path: Path) -> sqlite3.Connection:
        """A commit is durable; the connection may go from thread to thread.

        Raises sqlite3.Error."""
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if self.makes else 'rw'}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=self.cached_statements,
        )
        with closed_on_error(connection):
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint = {self.checkpoint_pages}").fetchall()
            connection.execute(f"PRAGMA journal_size_limit = {self.journal_bytes}").fetchall()
        return connection

    def connect_to_read(self, path: Path) -> sqlite3.Connection:
        """Raises sqlite3.Error."""
        connection = self.connect(path)
        with closed_on_error(connection):
            connection.execute("PRAGMA query_only = ON")
        return connection


@contextmanager
def closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


@contextmanager
def told(meaning_of: Meaning, path: Path) -> Iterator[None]:
    """An error of SQLite becomes what it means."""
    try:
        yield
    except sqlite3.Error as error:
        raise meaning_of(error, path) from error


def is_too_old() -> bool:
    """The SQLite that this Python has."""
    return sqlite3.sqlite_version_info < OLDEST_SQLITE


def journal_of(path: Path) -> Path:
    """It is there while the file is open, and after a kill."""
    return path.with_name(f"{path.name}-wal")


def found_damage(connection: sqlite3.Connection, path: Path, *, killed: bool) -> str:
    """What is wrong in the file; empty when nothing is or the file is too large to look
    through at a start. ``killed``: whoever had it open last did not close it.

    Raises sqlite3.Error, OSError."""
    if path.stat().st_size > (CHECKED_BYTES_AFTER_A_KILL if killed else CHECKED_BYTES):
        return ""
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if found == "ok" else found.replace("\n", " ")
