"""Attributes in SQLite: by (entity, scope, key), the greater version stays."""

import json
from collections.abc import Sequence
from typing import Any

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import Decision, PastDecision, VersionedAttribute
from edgeferry.store.decisions import Standing, decide, decisions_of, decisions_text
from edgeferry.store.sqlite_ids import SqliteIds, naming
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_values import VALUE_SQL, cell_of, value_of
from edgeferry.store.sqlite_writer import Cell, Execute, Insert, Job, SqliteWriter, chunks
from edgeferry.store.values import check_change, check_entity, check_long

# The condition is core.merge.wins_attribute.
UPSERT = Insert(
    "INSERT INTO attributes (entity, scope, key, kind, value, last_update_ts, version, origin)",
    8,
    "ON CONFLICT (entity, scope, key) DO UPDATE SET kind = excluded.kind, value = excluded.value,"
    " last_update_ts = excluded.last_update_ts, version = excluded.version,"
    " origin = excluded.origin, deleted = 0"
    " WHERE (excluded.version, excluded.origin) > (attributes.version, attributes.origin)",
)
REPLACE = Insert(
    "INSERT OR REPLACE INTO attributes (entity, scope, key, kind, value, last_update_ts, version,"
    " origin, deleted, decisions)",
    10,
    "",
)
RECORD = "UPDATE attributes SET decisions = ? WHERE entity = ? AND scope = ? AND key = ?"
STANDING = """
SELECT json_group_array(json_array(entity, scope, key, version, origin, decisions))
FROM attributes WHERE (entity, scope, key) IN (SELECT json_extract(value, '$[0]'),
    json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?))
"""
_ENTITY = "entity = (SELECT id FROM entities WHERE entity_type = ? AND entity_id = ?)"
_READ = f"""
SELECT json_group_array(json_array(name, kind, shown, last_update_ts, version, origin)) FROM (
    SELECT keys.key AS name, kind, {VALUE_SQL} AS shown, last_update_ts, version, origin
    FROM attributes JOIN keys ON keys.id = attributes.key
    WHERE {_ENTITY} AND scope = ? {{narrow}} ORDER BY keys.key)
"""
READ_ALL = _READ.format(narrow="")
READ_SOME = _READ.format(narrow="AND keys.key IN (SELECT value FROM json_each(?))")
DECISIONS = f"""
SELECT json_group_array(decisions) FROM attributes
WHERE {_ENTITY} AND scope = ? AND key = (SELECT id FROM keys WHERE key = ?)
"""
DELETE_ENTITY = f"DELETE FROM attributes WHERE {_ENTITY}"

_Place = tuple[int, str, int]


class SqliteAttributes:
    """The port core.store.AttributesStore."""

    def __init__(
        self, *, writer: SqliteWriter, reader: SqliteReader, ids: SqliteIds, clock: Clock
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._ids = ids
        self._clock = clock

    async def save(self, writes: Sequence[AttributesWrite]) -> None:
        """Raises StoreUnavailable, Unstorable (with the write's index; nothing is stored)."""
        await self._ids.resolve(writes)
        cells: list[Cell] = []
        for index, write in enumerate(writes):
            try:
                cells += self._cells(write)
            except Unstorable as error:
                raise Unstorable(str(error), index) from None
        if not cells:
            return
        job = Job()
        job.add(UPSERT, cells)
        unsaved = self._ids.attach(job)
        await self._writer.write(job)
        unsaved.saved()

    def _cells(self, write: AttributesWrite) -> list[Cell]:
        entity = self._ids.entities[write.entity_type, write.entity_id]
        version = check_long(write.version)
        updated = check_long(write.last_update_ts)
        cells: list[Cell] = []
        for name, value in write.values.items():
            key = self._ids.keys[name]
            cells += (entity, str(write.scope), key, *cell_of(value))
            cells += (updated, version, write.origin)
        return cells

    async def apply(self, changes: Sequence[VersionedAttribute]) -> Sequence[Decision]:
        """Raises StoreUnavailable, Unstorable (with the change's index); nothing stands then."""
        if not changes:
            return []
        rows = [_row(index, change) for index, change in enumerate(changes)]
        await self._ids.resolve(
            [naming(one.entity_type, one.entity_id, one.key) for one in changes]
        )
        placed = [
            (self._place(change), change, row) for change, row in zip(changes, rows, strict=True)
        ]
        now = self._clock.now_ms()
        job = Job()
        unsaved = self._ids.attach(job)
        decisions = await self._writer.run(lambda execute: _apply(execute, placed, now), job)
        unsaved.saved()
        return decisions

    def _place(self, change: VersionedAttribute) -> _Place:
        entity = self._ids.entities[change.entity_type, change.entity_id]
        return entity, str(change.scope), self._ids.keys[change.key]

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        rows = await self._read(entity_type, entity_id, scope, keys)
        return [
            AttributeEntry(key, value_of(kind, shown), updated, version)
            for key, kind, shown, updated, version, _ in rows
            if kind is not None
        ]

    async def standing(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[VersionedAttribute]:
        place = (entity_type, entity_id, scope)
        return [
            VersionedAttribute(
                *place, key, None if kind is None else value_of(kind, shown), *version
            )
            for key, kind, shown, *version in await self._read(*place, keys)
        ]

    async def _read(
        self, entity_type: str, entity_id: str, scope: Scope, keys: Sequence[str] | None
    ) -> list[list[Any]]:
        place: tuple[str, ...] = (entity_type, entity_id, str(scope))
        if keys is None:
            return await self._reader.rows(READ_ALL, place)
        return await self._reader.rows(READ_SOME, (*place, json.dumps(list(keys))))

    async def decisions(
        self, entity_type: str, entity_id: str, scope: Scope, key: str
    ) -> Sequence[PastDecision]:
        cells = (entity_type, entity_id, str(scope), key)
        rows: list[Any] = await self._reader.rows(DECISIONS, cells)
        return decisions_of(rows[0]) if rows else ()

    async def delete_entity(self, entity_type: str, entity_id: str) -> None:
        """Raises StoreUnavailable, Unstorable."""
        check_entity(entity_type, entity_id)
        cells = (entity_type, entity_id)
        await self._writer.run(lambda execute: execute(DELETE_ENTITY, cells).rowcount)


def _row(index: int, change: VersionedAttribute) -> tuple[Cell, ...]:
    """The cells between place and decisions. Raises Unstorable with the index."""
    try:
        check_change(change)
        kind, value = (None, None) if change.value is None else cell_of(change.value)
    except Unstorable as error:
        raise Unstorable(str(error), index) from None
    deleted = int(change.value is None)
    return kind, value, change.last_update_ts, change.version, change.origin, deleted


def _apply(
    execute: Execute,
    placed: Sequence[tuple[_Place, VersionedAttribute, tuple[Cell, ...]]],
    now_ms: int,
) -> list[Decision]:
    """Runs in the writer's thread, so that nothing comes between reading and writing."""
    places = [place for place, _, _ in placed]
    found = json.loads(execute(STANDING, (json.dumps(places),)).fetchone()[0])
    standing = {
        (entity, scope, key): Standing(version, origin, decisions_of(decisions))
        for entity, scope, key, version, origin, decisions in found
    }
    before = dict(standing)
    rows: dict[_Place, tuple[Cell, ...]] = {}
    decided = []
    for place, change, row in placed:
        known = standing.get(place, Standing())
        decision, standing[place] = decide(known, change, now_ms)
        decided.append(decision)
        if standing[place].version != known.version or standing[place].origin != known.origin:
            rows[place] = row
    cells: list[Cell] = []
    for place, now in standing.items():
        if place in rows:
            cells += (*place, *rows[place], decisions_text(now.decisions))
        elif now != before.get(place):
            execute(RECORD, (decisions_text(now.decisions), *place))
    for sql, chunk in chunks(REPLACE, cells):
        execute(sql, chunk)
    return decided
