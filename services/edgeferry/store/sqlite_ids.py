"""Small integers for entities and keys: rows stay short, the names stand once."""

import asyncio
import json
import sqlite3
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from edgeferry.core.errors import Unstorable
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_writer import Insert, Job
from edgeferry.store.values import MAX_KEY_BYTES, entity_uuid, key_bytes, text_bytes

INSERT_ENTITY = Insert("INSERT OR IGNORE INTO entities (id, entity_type, entity_id)", 3, "")
INSERT_KEY = Insert("INSERT OR IGNORE INTO keys (id, key)", 2, "")

FIND_ENTITIES = """
SELECT json_group_array(json_array(id, entity_type, entity_id)) FROM entities
WHERE (entity_type, entity_id) IN
    (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))
"""
FIND_KEYS = """
SELECT json_group_array(json_array(id, key)) FROM keys
WHERE key IN (SELECT value FROM json_each(?))
"""

NAMES_KEPT = 500_000

Entity = tuple[str, str]
Named = TimeseriesWrite | AttributesWrite
Name = TypeVar("Name")


class _Numbers(Generic[Name]):
    """Name -> number, and which of them are not durable yet."""

    def __init__(self) -> None:
        self.known: dict[Name, int] = {}
        self.unsaved: dict[Name, int] = {}
        self._next = 1

    def start_at(self, number: int) -> None:
        self._next = number

    def bound(self) -> None:
        if len(self.known) > NAMES_KEPT:
            self.known.clear()
            self.known.update(self.unsaved)

    def give(self, name: Name) -> None:
        if name not in self.known:
            self.known[name] = self.unsaved[name] = self._next
            self._next += 1


class Unsaved:
    """What one job carries of new names; call ``saved`` once the job is durable."""

    def __init__(self, entities: _Numbers[Entity], keys: _Numbers[str]) -> None:
        self._entities = (entities, tuple(entities.unsaved))
        self._keys = (keys, tuple(keys.unsaved))

    def saved(self) -> None:
        entities, entity_names = self._entities
        for entity in entity_names:
            entities.unsaved.pop(entity, None)
        keys, key_names = self._keys
        for key in key_names:
            keys.unsaved.pop(key, None)


def naming(entity_type: str, entity_id: str, *keys: str) -> TimeseriesWrite:
    """A write that only names what should have numbers."""
    return TimeseriesWrite(entity_type, entity_id, 0, 0, dict.fromkeys(keys, 0))


class SqliteIds:
    """Numbers are given in memory at once and written with the first rows that use them;
    until that is durable, every job carries them again."""

    def __init__(self, *, reader: SqliteReader) -> None:
        self._reader = reader
        self._lock = asyncio.Lock()
        self._entities: _Numbers[Entity] = _Numbers()
        self._keys: _Numbers[str] = _Numbers()

    def load(self, connection: sqlite3.Connection) -> None:
        """Go on after the greatest numbers of the file."""
        for numbers, table in ((self._entities, "entities"), (self._keys, "keys")):
            row = connection.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()
            numbers.start_at(int(row[0]))

    @property
    def entities(self) -> dict[Entity, int]:
        return self._entities.known

    @property
    def keys(self) -> dict[str, int]:
        return self._keys.known

    async def resolve(self, writes: Iterable[Named]) -> None:
        """Make sure that entities and keys of these have numbers.

        Raises Unstorable with the write's index, StoreUnavailable."""
        entities: dict[Entity, None] = {}
        keys: dict[str, None] = {}
        for index, write in enumerate(writes):
            entity = (write.entity_type, write.entity_id)
            try:
                if entity not in self.entities:
                    text_bytes(write.entity_type, MAX_KEY_BYTES)
                    entity_uuid(write.entity_id)
                    entities[entity] = None
                for key in write.values.keys() - self.keys.keys():
                    key_bytes(key)
                    keys[key] = None
            except Unstorable as error:
                raise Unstorable(str(error), index) from None
        if entities or keys:
            await self._number(entities, keys)

    async def _number(self, entities: Iterable[Entity], keys: Iterable[str]) -> None:
        async with self._lock:
            self._entities.bound()
            self._keys.bound()
            await self._find(FIND_ENTITIES, self._entities, entities, lambda row: tuple(row[1:]))
            await self._find(FIND_KEYS, self._keys, keys, lambda row: row[1])

    async def _find(
        self, sql: str, numbers: _Numbers[Any], names: Iterable[Any], name_of: Any
    ) -> None:
        missing = [name for name in names if name not in numbers.known]
        if not missing:
            return
        for row in await self._reader.rows(sql, (json.dumps(missing),)):
            numbers.known[name_of(row)] = row[0]
        for name in missing:
            numbers.give(name)

    def attach(self, job: Job) -> Unsaved:
        """Add the rows of all names that are not durable yet."""
        for (entity_type, entity_id), number in self._entities.unsaved.items():
            job.add(INSERT_ENTITY, (number, entity_type, entity_id))
        for key, number in self._keys.unsaved.items():
            job.add(INSERT_KEY, (number, key))
        return Unsaved(self._entities, self._keys)
