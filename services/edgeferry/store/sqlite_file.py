"""The SQLite file: opening, format, lock, and what its errors mean."""

import errno
import fcntl
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from edgeferry.core.errors import EdgeferryError, StoreUnavailable, StoreUnusable
from edgeferry.store.sqlite_schema import FORMAT, MIGRATIONS, SCHEMA

APPLICATION_ID = 0x65646672  # "edfr"
OLDEST_SQLITE = (3, 38, 0)
BUSY_SECONDS = 5.0

CHECKED_BYTES = 16 * 1024 * 1024
"""A file up to this size is examined at every start (some 50 ms)."""
CHECKED_BYTES_AFTER_A_KILL = 128 * 1024 * 1024
"""Some 0.4 s, more on a slow disk."""

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_WHAT_TO_DO = {
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and may be written",
    sqlite3.SQLITE_IOERR: "check its disk for space, quota and faults",
    sqlite3.SQLITE_BUSY: "end the other program that holds it",
}


def meaning_of(error: sqlite3.Error, path: Path) -> EdgeferryError:
    """Damage is for the operator; anything else (full disk, I/O, lock) passes with time."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BROKEN:
        return _damaged(path, str(error))
    advice = _WHAT_TO_DO.get(code)
    return StoreUnavailable(f"{path}: {error}" + (f": {advice}" if advice else ""))


def _damaged(path: Path, what: str) -> StoreUnusable:
    return StoreUnusable(
        f"{path} is damaged ({what}): restore it from a backup, or move it away to start anew"
    )


class FileLock:
    """One process per file: an advisory lock that ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises StoreUnusable when another process holds it or the folder is no place
        to write."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "choose another data folder or change its permissions"
            raise StoreUnusable(
                f"cannot write in {self._path.parent} ({error.strerror}): "
                + ("free space on its disk" if full else advice)
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            raise StoreUnusable(
                f"{self._path.parent} is in use by another process"
                f"{f' ({holder})' if holder else ''}: stop it, "
                "or give this one its own data folder"
            ) from None
        self._descriptor = descriptor
        with suppress(OSError):  # only for the message above; the lock holds without it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The connection of the writer thread, on a file of our format.

    Raises StoreUnusable (damaged, foreign or newer file, SQLite too old), StoreUnavailable."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed")
    killed = path.with_name(f"{path.name}-wal").exists()
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise meaning_of(error, path) from error
    try:
        _check_format(connection, path)
        _check_damage(connection, path, killed)
    except sqlite3.Error as error:
        connection.close()
        raise meaning_of(error, path) from error
    except EdgeferryError:
        connection.close()
        raise
    return connection


def check_readable(path: Path) -> None:
    """For a process beside the one that owns the file. Raises StoreUnavailable when there is
    no store yet, StoreUnusable as open_for_writing does."""
    if not path.exists():
        raise StoreUnavailable(f"{path} does not exist yet")
    try:
        with closing(open_for_reading(path)) as connection:
            application, version, _ = _format_of(connection)
    except sqlite3.Error as error:
        raise meaning_of(error, path) from error
    if application == 0:
        raise StoreUnavailable(f"{path} is not made yet")
    _refuse_foreign(path, application, version)
    if version < FORMAT:
        raise StoreUnusable(
            f"{path} has the older format {version}: start its site with this version once, "
            "which brings the file up to date"
        )


def open_for_reading(path: Path) -> sqlite3.Connection:
    connection = _connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new file; bring those of an older format up to date."""
    application, version, tables = _format_of(connection)
    if tables == 0 and application == 0:
        _execute_at_once(connection, SCHEMA, FORMAT)
        return
    _refuse_foreign(path, application, version)
    while version < FORMAT:
        _execute_at_once(connection, MIGRATIONS[version], version + 1)
        version += 1


def _check_damage(connection: sqlite3.Connection, path: Path, killed: bool) -> None:
    if path.stat().st_size <= (CHECKED_BYTES_AFTER_A_KILL if killed else CHECKED_BYTES):
        found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        if found != "ok":
            raise _damaged(path, found.replace("\n", " "))


def _execute_at_once(connection: sqlite3.Connection, statements: str, version: int) -> None:
    """All of it or nothing; the file then has this format."""
    connection.executescript(
        f"BEGIN IMMEDIATE; {statements} PRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {version}; COMMIT;"
    )


def _format_of(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Application id, format and number of tables."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])
    return application, version, tables


def _refuse_foreign(path: Path, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise StoreUnusable(f"{path} is not a store of edgeferry: choose another data folder")
    if version > FORMAT:
        raise StoreUnusable(
            f"{path} has format {version}, made by a newer edgeferry; this one knows {FORMAT}: "
            "use the newer version"
        )
    if version < FORMAT and version not in MIGRATIONS:
        raise StoreUnusable(
            f"{path} has format {version}, which is unknown: restore it from a backup"
        )
