"""Attributes in SQLite: by (entity, scope, key), the greater version stays."""

import json
from collections.abc import Sequence

from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.core.node import AttributesWrite
from edgeferry.store.sqlite_ids import SqliteIds
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_values import VALUE_SQL, cell_of, value_of
from edgeferry.store.sqlite_writer import Cell, Insert, Job, SqliteWriter
from edgeferry.store.values import check_long

# The condition is core.merge.wins_attribute.
UPSERT = Insert(
    "INSERT INTO attributes (entity, scope, key, kind, value, last_update_ts, version, origin)",
    8,
    "ON CONFLICT (entity, scope, key) DO UPDATE SET kind = excluded.kind, value = excluded.value,"
    " last_update_ts = excluded.last_update_ts, version = excluded.version,"
    " origin = excluded.origin, deleted = 0"
    " WHERE (excluded.version, excluded.origin) > (attributes.version, attributes.origin)",
)
_READ = f"""
SELECT json_group_array(json_array(name, kind, shown, last_update_ts, version)) FROM (
    SELECT keys.key AS name, kind, {VALUE_SQL} AS shown, last_update_ts, version
    FROM attributes JOIN keys ON keys.id = attributes.key
    WHERE entity = (SELECT id FROM entities WHERE entity_type = ? AND entity_id = ?)
        AND scope = ? AND deleted = 0 {{narrow}} ORDER BY keys.key)
"""
READ_ALL = _READ.format(narrow="")
READ_SOME = _READ.format(narrow="AND keys.key IN (SELECT value FROM json_each(?))")


class SqliteAttributes:
    """The port core.store.AttributesStore."""

    def __init__(self, *, writer: SqliteWriter, reader: SqliteReader, ids: SqliteIds) -> None:
        self._writer = writer
        self._reader = reader
        self._ids = ids

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

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        place: tuple[str, ...] = (entity_type, entity_id, str(scope))
        if keys is None:
            rows = await self._reader.rows(READ_ALL, place)
        else:
            rows = await self._reader.rows(READ_SOME, (*place, json.dumps(list(keys))))
        return [
            AttributeEntry(key, value_of(kind, shown), updated, version)
            for key, kind, shown, updated, version in rows
        ]
