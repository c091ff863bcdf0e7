"""Deletes in SQLite, and the memory of them: a late write must not bring back what is gone."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.merge import Deletion, newest_allowed_for_latest, with_deletion
from edgeferry.core.store import TimeseriesDelete
from edgeferry.store.sqlite_writer import Execute

KEPT_DAYS = 40
"""How late a write may come and still meet what was deleted."""
MOST_KEPT = 100_000
PRUNE_EVERY_SECONDS = 60.0

EVERY_KEY = 0
"""No key has this number: it stands for all of an entity's."""

DELETE_HISTORY = (
    "DELETE FROM history WHERE entity = ? AND key = ? AND ts >= ? AND ts < ? AND stamp <= ?"
)
DELETE_LATEST = (
    "DELETE FROM latest WHERE entity = ? AND key = ? AND ts > ? AND ts <= ? AND stamp <= ?"
)
REWRITE_LATEST = (
    "INSERT INTO latest (entity, key, ts, stamp, kind, value)"
    " SELECT entity, key, ts, stamp, kind, value FROM history"
    " WHERE entity = ? AND key = ? AND ts >= 0 AND ts < ? AND (expires IS NULL OR expires > ?)"
    " ORDER BY ts DESC LIMIT 1"
)
GREATEST_STAMP = (
    "SELECT max(stamp) FROM (SELECT stamp FROM history"
    " WHERE entity = ? AND key = ? AND ts >= ? AND ts < ? UNION ALL SELECT stamp FROM latest"
    " WHERE entity = ? AND key = ? AND ts > ? AND ts <= ?)"
)
DELETE_ENTITY = (
    "DELETE FROM history WHERE entity = ? AND stamp <= ?",
    "DELETE FROM latest WHERE entity = ? AND stamp <= ?",
)
LOAD = "SELECT entity, key, start_ts, end_ts, stamp, latest FROM deletes ORDER BY stamp DESC"
FORGET_KEY = "DELETE FROM deletes WHERE entity = ? AND key = ?"
FORGET_OLD = "DELETE FROM deletes WHERE stamp < ?"
REMEMBER = (
    "INSERT OR IGNORE INTO deletes (entity, key, start_ts, end_ts, stamp, latest)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)

Ranges = tuple[Deletion, ...]


class SqliteDeletes:
    """Ranges deleted lately: by entity and key in memory, and in the table ``deletes``."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._next_prune = clock.monotonic()
        self.known: dict[int, dict[int, Ranges]] = {}

    def load(self, connection: sqlite3.Connection) -> None:
        self.known = {}
        cells = (self._oldest(), MOST_KEPT)
        sql = f"SELECT * FROM ({LOAD}) WHERE stamp >= ? LIMIT ?"
        for entity, key, *row in connection.execute(sql, cells):
            start, end, stamp, latest = row
            found = Deletion(start, end, stamp, bool(latest))
            keys = self.known.setdefault(entity, {})
            keys[key] = with_deletion(keys.get(key, ()), found)

    def with_new(self, entity: int, new: Mapping[int, Deletion]) -> dict[int, Ranges]:
        """The ranges of these keys once the new ones stand; nothing is changed yet."""
        known = self.known.get(entity, {})
        return {key: with_deletion(known.get(key, ()), one) for key, one in new.items()}

    def deleted(self, entity: int, ranges: Mapping[int, Ranges]) -> None:
        """These stand now, durably."""
        self.known.setdefault(entity, {}).update(ranges)

    def forget_old(self) -> int | None:
        """From time to time: drop what is too old and too much from memory.

        The stamp below which the table's rows may go, too; None: it is not time yet."""
        now = self._clock.monotonic()
        if now < self._next_prune:
            return None
        self._next_prune = now + PRUNE_EVERY_SECONDS
        oldest = self._oldest()
        stamps = sorted(
            one.stamp for keys in self.known.values() for some in keys.values() for one in some
        )
        if len(stamps) > MOST_KEPT:
            oldest = max(oldest, stamps[-MOST_KEPT])
        self.known = {
            entity: kept
            for entity, keys in self.known.items()
            if (kept := {key: some for key, some in keys.items() if some[-1].stamp >= oldest})
        }
        return oldest

    def _oldest(self) -> int:
        return (self._clock.now_ms() - KEPT_DAYS * 86_400_000) * MICROS_PER_MS


def ranges_of(known: Mapping[int, Ranges], key: int) -> Ranges:
    return known.get(key, ()) + known.get(EVERY_KEY, ())


class Done(NamedTuple):
    """What became of one key: the range to remember, and whether its latest value went."""

    deletion: Deletion
    latest_gone: bool


def delete_keys(
    execute: Execute, entity: int, keys: Iterable[int], delete: TimeseriesDelete, now_ms: int
) -> dict[int, Done]:
    """Runs in the writer's thread."""
    return {key: _delete_key(execute, entity, key, delete, now_ms) for key in keys}


def _delete_key(
    execute: Execute, entity: int, key: int, delete: TimeseriesDelete, now_ms: int
) -> Done:
    start, end, stamp = delete.start_ts, delete.end_ts, delete.stamp
    place = (entity, key, start, end)
    if delete.all_stored:
        found = execute(GREATEST_STAMP, (*place, *place)).fetchone()[0]
        stamp = max(stamp, found or 0)
    execute(DELETE_HISTORY, (*place, stamp))
    gone = False
    if delete.delete_latest:
        gone = execute(DELETE_LATEST, (*place, stamp)).rowcount > 0
        if gone and delete.rewrite_latest:
            newest = min(start - 1, newest_allowed_for_latest(now_ms) + 1)
            execute(REWRITE_LATEST, (entity, key, newest, now_ms))
    return Done(Deletion(start, end, stamp, delete.delete_latest), gone)


def delete_entity(execute: Execute, entity: int, stamp: int) -> None:
    for sql in DELETE_ENTITY:
        execute(sql, (entity, stamp))


def remember(execute: Execute, entity: int, ranges: Mapping[int, Ranges]) -> None:
    for key, some in ranges.items():
        execute(FORGET_KEY, (entity, key))
        for start, end, stamp, latest in some:
            execute(REMEMBER, (entity, key, start, end, stamp, int(latest)))
