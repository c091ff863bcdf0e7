"""The SQLite file: opening, format, whose it is, and what its errors mean."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

from edgeferry.core.errors import EdgeferryError, StoreUnavailable, StoreUnusable
from edgeferry.files import sqlite
from edgeferry.files.lock import FileHeld, FileLock
from edgeferry.store.sqlite_schema import FORMAT, MIGRATIONS, SCHEMA

APPLICATION_ID = 0x65646672  # "edfr"

_OPENING = sqlite.Opening(
    makes=True,
    checkpoint_pages=1_000,
    journal_bytes=64 * 1024 * 1024,
    cached_statements=256,
)
connect_to_read = _OPENING.connect_to_read

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


def hold(lock: FileLock) -> None:
    """Raises StoreUnusable when another process holds it or the folder is no place to write."""
    folder = lock.path.parent
    try:
        lock.acquire()
    except FileHeld as held:
        raise StoreUnusable(
            f"{folder} is in use by another process{f' ({held.holder})' if held.holder else ''}"
            ": stop it, or give this one its own data folder"
        ) from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "choose another data folder or change its permissions"
        raise StoreUnusable(
            f"cannot write in {folder} ({error.strerror}): "
            + ("free space on its disk" if full else advice)
        ) from None


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The connection of the writer thread, on a file of our format.

    Raises StoreUnusable (damaged, foreign or newer file, SQLite too old), StoreUnavailable."""
    if sqlite.is_too_old():
        raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed")
    killed = sqlite.journal_of(path).exists()
    with sqlite.told(meaning_of, path):
        connection = _OPENING.connect(path)
        with sqlite.closed_on_error(connection):
            _check_format(connection, path)
            if found := sqlite.found_damage(connection, path, killed=killed):
                raise _damaged(path, found)
    return connection


def check_readable(path: Path) -> None:
    """For a process beside the one that owns the file. Raises StoreUnavailable when there is
    no store yet, StoreUnusable as open_for_writing does."""
    if not path.exists():
        raise StoreUnavailable(f"{path} does not exist yet")
    with sqlite.told(meaning_of, path), closing(connect_to_read(path)) as connection:
        application, version, _ = _format_of(connection)
    if application == 0:
        raise StoreUnavailable(f"{path} is not made yet")
    _refuse_foreign(path, application, version)
    if version < FORMAT:
        raise StoreUnusable(
            f"{path} has the older format {version}: start its site with this version once, "
            "which brings the file up to date"
        )


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
