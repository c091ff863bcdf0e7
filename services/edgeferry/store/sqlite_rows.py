"""Every row of a SQLite store, for copying it elsewhere: page after page, in the order of the
primary keys, so that a later run can go on behind a row."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeferry.core.kv import Scope, Value
from edgeferry.core.store import VersionedAttribute
from edgeferry.store.seal import KEY_FILE, Seal
from edgeferry.store.sqlite_deletes import EVERY_KEY
from edgeferry.store.sqlite_kept_rows import SqliteKeptRows
from edgeferry.store.sqlite_pages import PAGE_ROWS as PAGE_ROWS
from edgeferry.store.sqlite_pages import After as After
from edgeferry.store.sqlite_pages import SqlitePages
from edgeferry.store.sqlite_values import value_of


class HistoryRow(NamedTuple):
    """``at``: its primary key. ``expires`` in ms, None for never."""

    at: After
    entity_type: str
    entity_id: str
    key: str
    ts: int
    stamp: int
    value: Value
    expires: int | None


class LatestRow(NamedTuple):
    at: After
    entity_type: str
    entity_id: str
    key: str
    ts: int
    stamp: int
    value: Value


class DeleteRow(NamedTuple):
    """A range deleted lately, of which late writes are kept out. ``keys``: for one of all keys
    of an entity those that have a latest value again."""

    at: After
    entity_type: str
    entity_id: str
    keys: Sequence[str]
    start_ts: int
    end_ts: int
    stamp: int
    latest: bool


class AttributeRow(NamedTuple):
    at: After
    attribute: VersionedAttribute


_NAMES = "JOIN entities ON entities.id = t.entity JOIN keys ON keys.id = t.key"
_HISTORY = f"""
SELECT t.entity, t.key, t.ts, entity_type, entity_id, keys.key, stamp, kind, value, expires
FROM history t {_NAMES}
WHERE (t.entity, t.key, t.ts) > (?, ?, ?) AND (expires IS NULL OR expires > ?)
ORDER BY t.entity, t.key, t.ts LIMIT {PAGE_ROWS}
"""
_LATEST = f"""
SELECT t.entity, t.key, entity_type, entity_id, keys.key, ts, stamp, kind, value
FROM latest t {_NAMES}
WHERE (t.entity, t.key) > (?, ?) ORDER BY t.entity, t.key LIMIT {PAGE_ROWS}
"""
_DELETES = f"""
SELECT t.entity, t.key, t.stamp, t.start_ts, t.end_ts, t.latest, entity_type, entity_id,
    CASE t.key WHEN {EVERY_KEY} THEN
        (SELECT json_group_array(keys.key) FROM latest JOIN keys ON keys.id = latest.key
         WHERE latest.entity = t.entity)
    ELSE (SELECT json_array(keys.key) FROM keys WHERE keys.id = t.key) END
FROM deletes t JOIN entities ON entities.id = t.entity
WHERE (t.entity, t.key, t.stamp, t.start_ts, t.end_ts, t.latest) > (?, ?, ?, ?, ?, ?)
ORDER BY t.entity, t.key, t.stamp, t.start_ts, t.end_ts, t.latest LIMIT {PAGE_ROWS}
"""
_ATTRIBUTES = f"""
SELECT t.entity, scope, t.key, entity_type, entity_id, keys.key, kind, value, deleted,
    last_update_ts, version, origin
FROM attributes t {_NAMES}
WHERE (t.entity, scope, t.key) > (?, ?, ?) ORDER BY t.entity, scope, t.key LIMIT {PAGE_ROWS}
"""


class SqliteRows:
    """Reads beside the store that has the file open. Raises StoreUnavailable, StoreUnusable."""

    def __init__(self, path: Path, seal: Seal | None = None) -> None:
        """``seal``: of the credentials, else with the key of the file's folder."""
        self._pages = SqlitePages(path)
        self.kept = SqliteKeptRows(self._pages, seal or Seal(path.parent / KEY_FILE))

    async def history(self, after: After, now_ms: int) -> AsyncIterator[Sequence[HistoryRow]]:
        """Without what has expired by ``now_ms``."""
        at: After = after or (0, 0, -1)
        while rows := await self._pages.read(_HISTORY, (*at, now_ms)):
            yield [
                HistoryRow(
                    (entity, key, ts), type_, id_, name, ts, stamp, value_of(kind, value), expires
                )
                for entity, key, ts, type_, id_, name, stamp, kind, value, expires in rows
            ]
            at = rows[-1][:3]

    async def latest(self, after: After) -> AsyncIterator[Sequence[LatestRow]]:
        at: After = after or (0, 0)
        while rows := await self._pages.read(_LATEST, at):
            yield [
                LatestRow((entity, key), type_, id_, name, ts, stamp, value_of(kind, value))
                for entity, key, type_, id_, name, ts, stamp, kind, value in rows
            ]
            at = rows[-1][:2]

    async def deletes(self, after: After) -> AsyncIterator[Sequence[DeleteRow]]:
        at: After = after or (0, -1, 0, 0, 0, 0)
        while rows := await self._pages.read(_DELETES, at):
            yield [
                DeleteRow(row[:6], type_, id_, json.loads(keys), start, end, stamp, bool(latest))
                for row in rows
                for _, _, stamp, start, end, latest, type_, id_, keys in [row]
            ]
            at = rows[-1][:6]

    async def attributes(self, after: After) -> AsyncIterator[Sequence[AttributeRow]]:
        at: After = after or (0, "", 0)
        while rows := await self._pages.read(_ATTRIBUTES, at):
            yield [
                AttributeRow(
                    (entity, scope, key),
                    VersionedAttribute(
                        type_,
                        id_,
                        Scope(scope),
                        name,
                        None if deleted else value_of(kind, value),
                        *rest,
                    ),
                )
                for entity, scope, key, type_, id_, name, kind, value, deleted, *rest in rows
            ]
            at = rows[-1][:3]
