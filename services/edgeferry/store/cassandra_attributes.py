"""Attributes in Cassandra: the greater version stays, whatever the order of arrival."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.core.merge import wins_attribute
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import Decision, PastDecision, VersionedAttribute
from edgeferry.store.cassandra_attribute_rows import encode_change, encode_write
from edgeferry.store.cassandra_cache import entity_prefix
from edgeferry.store.cassandra_reads import COLUMNS, place_of, value_of
from edgeferry.store.cassandra_rows import VALUE_COLUMNS, long_field, text_field
from edgeferry.store.cassandra_session import CassandraSession, Row
from edgeferry.store.cassandra_statements import insert_cql
from edgeferry.store.decisions import Standing, decide, decisions_of, decisions_text
from edgeferry.store.values import check_entity, entity_uuid, key_bytes

_COLUMNS = (
    *("entity_type", "entity_id", "scope", "key"),
    *VALUE_COLUMNS,
    *("last_update_ts", "version", "origin", "deleted"),
)
_INSERT = insert_cql("attributes_kv_cf", _COLUMNS, "USING TIMESTAMP ?")
_APPLY = insert_cql("attributes_kv_cf", (*_COLUMNS, "decisions"), "USING TIMESTAMP ?")
_RECORD = insert_cql("attributes_kv_cf", (*_COLUMNS[:4], "decisions"), "USING TIMESTAMP ?")
_STORED = """
SELECT key, version, origin, decisions, writetime(version), writetime(decisions)
FROM attributes_kv_cf WHERE entity_type = ? AND entity_id = ? AND scope = ? AND key IN ?
"""
_READ = f"""
SELECT key, last_update_ts, version, origin, {COLUMNS} FROM attributes_kv_cf
WHERE entity_type = ? AND entity_id = ? AND scope = ?
"""
_WRITTEN = """
SELECT writetime(version), writetime(decisions) FROM attributes_kv_cf
WHERE entity_type = ? AND entity_id = ?
"""
_DELETE = "DELETE FROM attributes_kv_cf USING TIMESTAMP ? WHERE entity_type = ? AND entity_id = ?"

_Place = tuple[str, str, Scope]
_Name = tuple[_Place, str]


class _Stored(NamedTuple):
    """written: no cell of the row has a greater timestamp."""

    standing: Standing = Standing()
    written: int = -1


class CassandraAttributes:
    """The port core.store.AttributesStore. One save at a time: it reads what stands, decides,
    and writes with a timestamp above what stands, so that the decision holds."""

    def __init__(self, *, session: CassandraSession, clock: Clock) -> None:
        self._session = session
        self._clock = clock
        self._insert = session.query(_INSERT)
        self._apply = session.query(_APPLY)
        self._record = session.query(_RECORD)
        self._stored = session.query(_STORED)
        self._read = session.query(_READ)
        self._read_some = session.query(f"{_READ} AND key IN ?")
        self._written = session.query(_WRITTEN)
        self._delete = session.query(_DELETE)
        self._saving = asyncio.Lock()

    async def save(self, writes: Sequence[AttributesWrite]) -> None:
        """Raises StoreUnavailable, Unstorable (with the write's index; nothing is stored)."""
        encoded = [encode_write(index, write) for index, write in enumerate(writes)]
        async with self._saving:
            stored = await self._load((_place(write), write.values) for write in writes)
            rows = self._winners(writes, encoded, stored)
            if rows:
                await self._session.write(rows)

    async def apply(self, changes: Sequence[VersionedAttribute]) -> Sequence[Decision]:
        """Raises StoreUnavailable, Unstorable (with the change's index; nothing stands)."""
        encoded = [encode_change(index, change) for index, change in enumerate(changes)]
        async with self._saving:
            stored = await self._load((_place(change), (change.key,)) for change in changes)
            standing = {name: row.standing for name, row in stored.items()}
            decided, winners = [], {}
            now = self._clock.now_ms()
            for change, row in zip(changes, encoded, strict=True):
                name = (_place(change), change.key)
                known = standing.get(name, Standing())
                decision, standing[name] = decide(known, change, now)
                decided.append(decision)
                if standing[name][:2] != known[:2]:
                    winners[name] = row
            rows = list(self._changed_rows(standing, winners, stored))
            if rows:
                await self._session.write(rows)
        return decided

    def _changed_rows(
        self,
        standing: Mapping[_Name, Standing],
        winners: Mapping[_Name, bytes],
        stored: Mapping[_Name, _Stored],
    ) -> Iterator[bytes]:
        for name, now in standing.items():
            before = stored.get(name, _Stored())
            decisions = text_field(decisions_text(now.decisions).encode())
            if name in winners:
                timestamp = long_field(max(now.version, before.written + 1))
                yield self._apply.head + winners[name] + decisions + timestamp
            elif now != before.standing:
                (entity_type, entity_id, scope), key = name
                place = entity_prefix(entity_type, entity_id) + text_field(str(scope).encode())
                place += text_field(key_bytes(key))
                yield self._record.head + place + decisions + long_field(before.written + 1)

    async def _load(self, wanted: Iterable[tuple[_Place, Iterable[str]]]) -> dict[_Name, _Stored]:
        keys_of: dict[_Place, set[str]] = {}
        for place, some in wanted:
            keys_of.setdefault(place, set()).update(some)
        stored: dict[_Name, _Stored] = {}

        async def find(place: _Place, keys: list[str]) -> None:
            entity_type, entity_id, scope = place
            cells = (entity_type, entity_uuid(entity_id), str(scope), keys)
            for key, version, origin, decisions, *written in await self._session.rows(
                self._stored, cells
            ):
                if version is not None:
                    standing = Standing(version, origin or "", decisions_of(decisions))
                    stored[place, key] = _Stored(standing, _greatest(written))

        await asyncio.gather(*(find(place, sorted(keys)) for place, keys in keys_of.items()))
        return stored

    def _winners(
        self,
        writes: Sequence[AttributesWrite],
        encoded: Sequence[dict[str, bytes]],
        stored: Mapping[_Name, _Stored],
    ) -> list[bytes]:
        head = self._insert.head
        rows: dict[_Name, bytes] = {}
        standing = {name: row.standing for name, row in stored.items()}
        for write, cells in zip(writes, encoded, strict=True):
            for key, row in cells.items():
                name = (_place(write), key)
                known = standing.get(name, Standing())
                if wins_attribute(write.version, write.origin, known.version, known.origin):
                    standing[name] = Standing(write.version, write.origin)
                    timestamp = max(write.version, stored.get(name, _Stored()).written + 1)
                    rows[name] = head + row + long_field(timestamp)
        return list(rows.values())

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        found = await self.standing(entity_type, entity_id, scope, keys)
        return [
            AttributeEntry(one.key, one.value, one.last_update_ts, one.version)
            for one in found
            if one.value is not None
        ]

    async def standing(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[VersionedAttribute]:
        place = place_of(entity_type, entity_id)
        if place is None:
            return []
        if keys is None:
            rows = await self._session.rows(self._read, (*place, str(scope)))
        else:
            cells = (*place, str(scope), sorted(set(keys)))
            rows = await self._session.rows(self._read_some, cells)
        return [
            VersionedAttribute(
                entity_type,
                entity_id,
                scope,
                key,
                value_of(columns),
                updated,
                version,
                origin or "",
            )
            for key, updated, version, origin, *columns in rows
            if version is not None
        ]

    async def decisions(
        self, entity_type: str, entity_id: str, scope: Scope, key: str
    ) -> Sequence[PastDecision]:
        place = place_of(entity_type, entity_id)
        if place is None:
            return ()
        rows = await self._session.rows(self._stored, (*place, str(scope), [key]))
        return decisions_of(rows[0][3]) if rows else ()

    async def delete_entity(self, entity_type: str, entity_id: str) -> None:
        """Raises StoreUnavailable, Unstorable."""
        place = (entity_type, check_entity(entity_type, entity_id))
        async with self._saving:
            rows = await self._session.rows(self._written, place)
            if rows:
                await self._session.rows(self._delete, (max(map(_greatest, rows)), *place))


def _greatest(written: Row | Sequence[int | None]) -> int:
    return max((one for one in written if one is not None), default=-1)


def _place(write: AttributesWrite | VersionedAttribute) -> _Place:
    return write.entity_type, write.entity_id, write.scope
