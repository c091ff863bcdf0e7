"""Attributes in Cassandra: the greater version stays, whatever the order of arrival."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgeferry.core.errors import Unstorable
from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.core.merge import wins_attribute
from edgeferry.core.node import AttributesWrite
from edgeferry.store.cassandra_cache import entity_prefix
from edgeferry.store.cassandra_reads import COLUMNS, place_of, value_of
from edgeferry.store.cassandra_rows import (
    VALUE_COLUMNS,
    long_field,
    only,
    text_field,
    value_field,
)
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql
from edgeferry.store.values import MAX_KEY_BYTES, check_long, entity_uuid, key_bytes, text_bytes

_INSERT = insert_cql(
    "attributes_kv_cf",
    (
        *("entity_type", "entity_id", "scope", "key"),
        *VALUE_COLUMNS,
        *("last_update_ts", "version", "origin", "deleted"),
    ),
    "USING TIMESTAMP ?",
)
_STORED = """
SELECT key, version, origin, writetime(version) FROM attributes_kv_cf
WHERE entity_type = ? AND entity_id = ? AND scope = ? AND key IN ?
"""
_READ = f"""
SELECT key, last_update_ts, version, deleted, {COLUMNS} FROM attributes_kv_cf
WHERE entity_type = ? AND entity_id = ? AND scope = ?
"""
_NOT_DELETED = b"\x00\x00\x00\x01\x00"

_Place = tuple[str, str, Scope]


class _Stored(NamedTuple):
    version: int
    origin: str
    written: int


_NOTHING = _Stored(-1, "", -1)


class CassandraAttributes:
    """The port core.store.AttributesStore. One save at a time: it reads what stands, decides,
    and writes with a timestamp above what stands, so that the decision holds."""

    def __init__(self, *, session: CassandraSession) -> None:
        self._session = session
        self._insert = session.query(_INSERT)
        self._stored = session.query(_STORED)
        self._read = session.query(_READ)
        self._read_some = session.query(f"{_READ} AND key IN ?")
        self._saving = asyncio.Lock()

    async def save(self, writes: Sequence[AttributesWrite]) -> None:
        """Raises StoreUnavailable, Unstorable (with the write's index; nothing is stored)."""
        encoded = [_encode(index, write) for index, write in enumerate(writes)]
        async with self._saving:
            stored = await self._load(writes)
            rows = self._winners(writes, encoded, stored)
            if rows:
                await self._session.write(rows)

    async def _load(self, writes: Iterable[AttributesWrite]) -> dict[tuple[_Place, str], _Stored]:
        wanted: dict[_Place, set[str]] = {}
        for write in writes:
            place = (write.entity_type, write.entity_id, write.scope)
            wanted.setdefault(place, set()).update(write.values)
        stored: dict[tuple[_Place, str], _Stored] = {}

        async def find(place: _Place, keys: list[str]) -> None:
            entity_type, entity_id, scope = place
            cells = (entity_type, entity_uuid(entity_id), str(scope), keys)
            for key, version, origin, written in await self._session.rows(self._stored, cells):
                if version is not None:
                    stored[place, key] = _Stored(version, origin or "", written)

        await asyncio.gather(*(find(place, sorted(keys)) for place, keys in wanted.items()))
        return stored

    def _winners(
        self,
        writes: Sequence[AttributesWrite],
        encoded: Sequence[dict[str, bytes]],
        stored: dict[tuple[_Place, str], _Stored],
    ) -> list[bytes]:
        head = self._insert.head
        rows: dict[tuple[_Place, str], bytes] = {}
        written = {name: row.written for name, row in stored.items()}
        for write, cells in zip(writes, encoded, strict=True):
            place = (write.entity_type, write.entity_id, write.scope)
            for key, row in cells.items():
                name = (place, key)
                known = stored.get(name, _NOTHING)
                if wins_attribute(write.version, write.origin, known.version, known.origin):
                    stored[name] = _Stored(write.version, write.origin, known.written)
                    timestamp = max(write.version, written.get(name, -1) + 1)
                    rows[name] = head + row + long_field(timestamp)
        return list(rows.values())

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        place = place_of(entity_type, entity_id)
        if place is None:
            return []
        if keys is None:
            rows = await self._session.rows(self._read, (*place, str(scope)))
        else:
            cells = (*place, str(scope), sorted(set(keys)))
            rows = await self._session.rows(self._read_some, cells)
        entries = []
        for key, updated, version, deleted, *columns in rows:
            value = value_of(columns)
            if value is not None and not deleted:
                entries.append(AttributeEntry(key, value, updated, version))
        return entries


def _encode(index: int, write: AttributesWrite) -> dict[str, bytes]:
    """Key -> its row without head and timestamp. Raises Unstorable with the index."""
    try:
        prefix = entity_prefix(write.entity_type, write.entity_id)
        prefix += text_field(str(write.scope).encode())
        end = long_field(check_long(write.last_update_ts)) + long_field(check_long(write.version))
        end += text_field(text_bytes(write.origin, MAX_KEY_BYTES)) + _NOT_DELETED
        return {
            key: prefix + text_field(key_bytes(key)) + only(*value_field(value)) + end
            for key, value in write.values.items()
        }
    except Unstorable as error:
        raise Unstorable(str(error), index) from None
