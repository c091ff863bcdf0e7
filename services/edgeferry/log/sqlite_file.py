"""The SQLite log's file: opening, format, damage, whose it is, and what its errors mean."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

from edgeferry.core.errors import EdgeferryError, LogUnavailable, LogUnusable
from edgeferry.files import sqlite
from edgeferry.files.lock import FileHeld, FileLock
from edgeferry.files.whole import sync_folder

FORMAT = 1
APPLICATION_ID = 0x6564666C  # "edfl"

_OPENING = sqlite.Opening(
    makes=False,
    checkpoint_pages=2_000,
    journal_bytes=32 * 1024 * 1024,
    cached_statements=512,
)
connect, connect_to_read = _OPENING.connect, _OPENING.connect_to_read
_PAGE_BYTES = 4096
_MAGIC = b"SQLite format 3\0"
_APPLICATION_ID_AT = 68
"""Bytes; of SQLite's file format."""

SCHEMA = """
CREATE TABLE topics (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, uid TEXT NOT NULL,
    partitions INTEGER NOT NULL, value TEXT NOT NULL, retention_ms INTEGER
) STRICT;
CREATE TABLE partitions (
    topic INTEGER NOT NULL, partition INTEGER NOT NULL,
    start INTEGER NOT NULL, start_total INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE group_offsets (
    group_name TEXT NOT NULL, topic INTEGER NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic, partition)
) STRICT, WITHOUT ROWID;
"""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT}
_FORBIDDEN = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}


def meaning_of(error: sqlite3.Error, path: Path) -> EdgeferryError:
    """Damage is for the operator; anything else (full disk, I/O, lock) passes with time."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGED:
        return damaged(path, str(error))
    if code == sqlite3.SQLITE_FULL:
        return LogUnavailable(
            f"{path}: the disk is full: make room on it; nothing that was acknowledged is lost, "
            "and it goes on by itself"
        )
    if code == sqlite3.SQLITE_BUSY:
        return LogUnavailable(
            f"{path}: another process has been writing for {sqlite.BUSY_SECONDS:.0f} s: is a tool "
            "hanging? It goes on by itself once that one ends"
        )
    if code in _FORBIDDEN:
        return LogUnavailable(
            f"{path} cannot be written ({error}): give this user the right to write in "
            f"{path.parent}; it goes on by itself"
        )
    return LogUnavailable(
        f"{path}: {error}: make room on its disk, and check it for quota and faults; it goes on by "
        "itself once it can be written"
    )


def hold(lock: FileLock) -> None:
    """Raises LogUnusable when another process holds it or the folder is no place to write."""
    folder = lock.path.parent
    try:
        lock.acquire()
    except FileHeld as held:
        holder = f"process {held.holder}" if held.holder else "another process"
        raise LogUnusable(
            f"{folder} is in use by {holder}: stop it, or give this one its own data folder"
        ) from None
    except OSError as error:
        raise _no_place(folder, error) from None


def open_as_owner(path: Path) -> sqlite3.Connection:
    """The connection of the writer, on a file of our format that is made if there is none.

    Raises LogUnusable (damaged, foreign, older or newer file, SQLite too old, no right to
    write), LogUnavailable."""
    if sqlite.is_too_old():
        raise LogUnusable(
            f"SQLite {sqlite3.sqlite_version} is too old: 3.38 or newer is needed; "
            "install a newer Python"
        )
    journal = sqlite.journal_of(path)
    with sqlite.told(_at_start, path):
        try:
            if not path.exists():
                _make(path, journal)
            killed = journal.exists()
        except OSError as error:
            raise _no_place(path.parent, error) from None
        connection = _open(path)
        with sqlite.closed_on_error(connection):
            _check_damage(connection, path, killed)
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """For a process beside the owner. Raises LogUnusable, LogUnavailable."""
    if not path.exists():
        raise LogUnusable(f"there is no log yet ({path}): start the site first")
    with sqlite.told(_at_start, path):
        return _open(path)


def _open(path: Path) -> sqlite3.Connection:
    """Of our format. Raises LogUnusable, sqlite3.Error."""
    try:
        _check_header(path)
        connection = connect(path)
    except OSError as error:
        raise LogUnusable(
            f"cannot read {path} ({error.strerror}): change its permissions"
        ) from None
    with sqlite.closed_on_error(connection):
        _check_format(connection, path)
    return connection


def _make(path: Path, journal: Path) -> None:
    """Under another name first: a file of ours is whole from its first moment on, so an
    empty one was damaged."""
    if journal.exists() and journal.stat().st_size:
        raise LogUnusable(
            f"{path} is missing but {journal.name} beside it is not: put the file back, "
            "or move both away to start anew"
        )
    made = path.with_name(f"{path.name}.new")
    for name in (made, made.with_name(f"{made.name}-journal")):
        name.unlink(missing_ok=True)
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {FORMAT}; COMMIT;"
        )
    made.replace(path)
    sync_folder(path.parent)


def _check_header(path: Path) -> None:
    """Before SQLite may change anything in a file that is not ours."""
    with path.open("rb") as file:
        header = file.read(_APPLICATION_ID_AT + 4)
    if not header.startswith(_MAGIC) or len(header) < _APPLICATION_ID_AT + 4:
        raise damaged(path, "it does not begin as a SQLite file does")
    if int.from_bytes(header[_APPLICATION_ID_AT:], "big") != APPLICATION_ID:
        raise LogUnusable(f"{path} is not a log of Edgeferry: choose another data folder")


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > FORMAT:
        raise LogUnusable(
            f"{path} has format {version}, made by a newer Edgeferry; this one knows {FORMAT}: "
            "update it, or restore the file that belongs to it"
        )
    if version < FORMAT:
        raise LogUnusable(
            f"{path} has format {version}, which no release of Edgeferry has made: restore it "
            "from a backup, or move it away to start anew"
        )


def _check_damage(connection: sqlite3.Connection, path: Path, killed: bool) -> None:
    _, frames, moved = connection.execute("PRAGMA wal_checkpoint").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    missing = pages * page_bytes - path.stat().st_size
    if frames == moved and missing > 0:
        raise damaged(path, f"{missing} bytes are missing at its end")
    if found := sqlite.found_damage(connection, path, killed=killed):
        raise damaged(path, found)


def damaged(path: Path, what: str) -> LogUnusable:
    return LogUnusable(
        f"{path} is damaged ({what}): restore it from a backup, or move it and {path.name}-wal "
        "away to start anew"
    )


def _no_place(folder: Path, error: OSError) -> LogUnusable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "choose another data folder or change its permissions"
    return LogUnusable(
        f"cannot write in {folder} ({error.strerror}): "
        + ("make room on its disk and start again" if full else advice)
    )


def _at_start(error: sqlite3.Error, path: Path) -> EdgeferryError:
    """At the start there is somebody who can do something about it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return LogUnusable(f"{path}: the disk is full: make room on it and start again")
    if code in _FORBIDDEN:
        return LogUnusable(
            f"cannot write {path} ({error}): choose another data folder or change its permissions"
        )
    return meaning_of(error, path)
