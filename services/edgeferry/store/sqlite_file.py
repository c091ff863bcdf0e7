"""The SQLite file: opening, format, lock, and what its errors mean."""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from edgeferry.core.errors import EdgeferryError, StoreUnavailable, StoreUnusable

FORMAT = 1
APPLICATION_ID = 0x65646672  # "edfr"
OLDEST_SQLITE = (3, 38, 0)
BUSY_SECONDS = 5.0

SCHEMA = """
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL,
    UNIQUE (entity_type, entity_id)
) STRICT;
CREATE TABLE keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE history (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL, expires INTEGER,
    PRIMARY KEY (entity, key, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_expires ON history (expires) WHERE expires IS NOT NULL;
CREATE TABLE latest (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL,
    PRIMARY KEY (entity, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE attributes (
    entity INTEGER NOT NULL, scope TEXT NOT NULL, key INTEGER NOT NULL,
    kind INTEGER, value ANY, last_update_ts INTEGER NOT NULL,
    version INTEGER NOT NULL, origin TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity, scope, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
    stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    incarnation TEXT NOT NULL, detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def meaning_of(error: sqlite3.Error, path: Path) -> EdgeferryError:
    """Damage is for the operator; anything else (full disk, I/O, lock) passes with time."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BROKEN:
        return StoreUnusable(
            f"{path} is damaged ({error}): restore it from a backup, or move it away to start anew"
        )
    return StoreUnavailable(f"{path}: {error}")


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
            raise StoreUnusable(
                f"cannot write in {self._path.parent} ({error.strerror}): "
                "choose another data folder or change its permissions"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise StoreUnusable(
                f"{self._path.parent} is in use by another process: stop it, "
                "or give this one its own data folder"
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The connection of the writer thread, on a file of our format.

    Raises StoreUnusable (damaged, foreign or newer file, SQLite too old), StoreUnavailable."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed")
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise meaning_of(error, path) from error
    try:
        _check_format(connection, path)
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
    application, version, tables = _format_of(connection)
    if tables == 0 and application == 0:
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {FORMAT}; COMMIT;"
        )
    else:
        _refuse_foreign(path, application, version)


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
