"""Entities, their credentials and their edges in SQLite."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from edgeferry.core.store import Credentials, Entity, EntityKey, EntityOrder
from edgeferry.store.seal import Seal
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_writer import Cell, Execute, SqliteWriter
from edgeferry.store.values import check_row, is_storable, key_bytes, token_of

_ENTITY = """entity_type, entity_id, tenant_id, name, profile, created_time, version, origin, label,
    additional_info, event_id, deleted, decisions"""
_SHOWN = f"json_array({_ENTITY})"

# The conditions: nothing gives way to a smaller (version, origin).
_SAVE = f"""
INSERT INTO known_entities ({_ENTITY}, folded) VALUES ({", ".join("?" * 14)})
ON CONFLICT (entity_type, entity_id) DO UPDATE SET tenant_id = excluded.tenant_id,
    name = excluded.name, profile = excluded.profile, created_time = excluded.created_time,
    version = excluded.version, origin = excluded.origin, label = excluded.label,
    additional_info = excluded.additional_info, event_id = excluded.event_id,
    deleted = excluded.deleted, decisions = excluded.decisions, folded = excluded.folded
WHERE (excluded.version, excluded.origin) >= (known_entities.version, known_entities.origin)
"""
_SAVE_CREDENTIALS = """
INSERT INTO credentials (entity_type, entity_id, sealed, version, origin, event_id, token_hash)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (entity_type, entity_id) DO UPDATE SET sealed = excluded.sealed,
    version = excluded.version, origin = excluded.origin, event_id = excluded.event_id,
    token_hash = excluded.token_hash
WHERE (excluded.version, excluded.origin) >= (credentials.version, credentials.origin)
"""
_ASSIGN = "INSERT OR IGNORE INTO assignments (entity_type, entity_id, edge_id) VALUES (?, ?, ?)"
_UNASSIGN = "DELETE FROM assignments WHERE entity_type = ? AND entity_id = ? AND edge_id = ?"

_AMONG = """(entity_type, entity_id) IN
    (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"""
_FIND = f"SELECT json_group_array({_SHOWN}) FROM known_entities WHERE {_AMONG}"
_EDGES = f"""
SELECT json_group_array(json_array(entity_type, entity_id, edge_id)) FROM
    (SELECT * FROM assignments WHERE {_AMONG} ORDER BY edge_id)
"""
_NAMED = f"""
SELECT json_group_array({_SHOWN}) FROM (SELECT * FROM known_entities
    WHERE deleted = 0 AND tenant_id = ? AND entity_type = ? AND folded = ? AND name = ?
    ORDER BY created_time, entity_id LIMIT 1)
"""
_PROFILES = """
SELECT json_group_array(profile) FROM (SELECT DISTINCT profile FROM known_entities
    WHERE deleted = 0 AND tenant_id = ? AND entity_type = ? ORDER BY profile)
"""
_OF_TENANT = "tenant_id = ? AND entity_type = ?"
_OF_EDGE = """(entity_type, entity_id) IN
    (SELECT entity_type, entity_id FROM assignments WHERE edge_id = ? AND entity_type = ?)"""
_WITH_PROFILE = " AND profile = ?"
_WITH_TEXT = " AND instr(folded, ?) > 0"
_ORDERS: Final[Mapping[EntityOrder, str]] = {
    EntityOrder.NEWEST: "created_time DESC, entity_id DESC",
    EntityOrder.OLDEST: "created_time, entity_id",
    EntityOrder.NAME: "folded, entity_id",
    EntityOrder.NAME_DOWN: "folded DESC, entity_id DESC",
    EntityOrder.PROFILE: "profile, entity_id",
    EntityOrder.PROFILE_DOWN: "profile DESC, entity_id DESC",
}

_CREDENTIALS = """
SELECT json_group_array(json_array(hex(sealed), version, origin, event_id)) FROM credentials
WHERE entity_type = ? AND entity_id = ?
"""
_ANY = """
SELECT json_group_array(json_array(entity_type, entity_id, hex(sealed))) FROM
    (SELECT * FROM credentials LIMIT 1)
"""
_WITH_TOKEN = """
SELECT json_group_array(json_array(entity_type, entity_id)) FROM (
    SELECT c.entity_type, c.entity_id FROM credentials c
    LEFT JOIN known_entities e USING (entity_type, entity_id)
    WHERE token_hash = ? AND e.deleted IS NOT 1
    ORDER BY c.version, c.entity_id LIMIT 1)
"""


class SqliteEntities:
    """The port core.store.EntityStore."""

    def __init__(self, *, writer: SqliteWriter, reader: SqliteReader, seal: Seal) -> None:
        self._writer = writer
        self._reader = reader
        self._seal = seal

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        rows = await self._reader.rows(_FIND, (json.dumps(list(keys)),))
        return {(one.entity_type, one.entity_id): one for one in map(_entity, rows)}

    async def save_entities(self, entities: Sequence[Entity]) -> None:
        """Raises StoreUnavailable, Unstorable (nothing stands then)."""
        for entity in entities:
            check_row(entity)
        if entities:
            await self._writer.run(
                lambda execute: _save(execute, [(*one, one.name.casefold()) for one in entities])
            )

    async def named(self, tenant_id: str, entity_type: str, name: str) -> Entity | None:
        if not is_storable(name):
            return None
        cells = (tenant_id, entity_type, name.casefold(), name)
        rows = await self._reader.rows(_NAMED, cells)
        return _entity(rows[0]) if rows else None

    async def page(
        self,
        tenant_id: str,
        entity_type: str,
        limit: int,
        skip: int,
        *,
        profile: str = "",
        text: str = "",
        order: EntityOrder = EntityOrder.NEWEST,
    ) -> tuple[Sequence[Entity], int]:
        where, cells = _OF_TENANT, [tenant_id, entity_type]
        if profile:
            where, cells = where + _WITH_PROFILE, [*cells, profile]
        return await self._page(where, cells, text, order, (limit, skip))

    async def assigned(
        self,
        edge_id: str,
        entity_type: str,
        limit: int,
        skip: int,
        *,
        text: str = "",
        order: EntityOrder = EntityOrder.NEWEST,
    ) -> tuple[Sequence[Entity], int]:
        return await self._page(_OF_EDGE, [edge_id, entity_type], text, order, (limit, skip))

    async def _page(
        self, where: str, cells: list[str], text: str, order: EntityOrder, part: tuple[int, int]
    ) -> tuple[Sequence[Entity], int]:
        where = f"FROM known_entities WHERE deleted = 0 AND {where}"
        if text:
            if not is_storable(text):
                return [], 0
            where, cells = where + _WITH_TEXT, [*cells, text.casefold()]
        rows = await self._reader.rows(
            f"SELECT json_group_array({_SHOWN}) FROM "
            f"(SELECT * {where} ORDER BY {_ORDERS[order]} LIMIT ? OFFSET ?)",
            (*cells, *part),
        )
        count = await self._reader.rows(f"SELECT json_array(json_array(count(*))) {where}", cells)
        return [_entity(row) for row in rows], int(count[0][0])

    async def profiles(self, tenant_id: str, entity_type: str) -> Sequence[str]:
        found: list[Any] = await self._reader.rows(_PROFILES, (tenant_id, entity_type))
        return found

    async def check_key(self) -> None:
        """Raises StoreUnusable when credentials were sealed with another key."""
        for entity_type, entity_id, sealed in await self._reader.rows(_ANY, ()):
            self._seal.reveal((entity_type, entity_id), bytes.fromhex(sealed))

    async def credentials(self, key: EntityKey) -> Credentials | None:
        rows = await self._reader.rows(_CREDENTIALS, key)
        if not rows:
            return None
        sealed, *rest = rows[0]
        return Credentials(*key, self._seal.reveal(key, bytes.fromhex(sealed)), *rest)

    async def save_credentials(self, credentials: Credentials) -> None:
        """Raises StoreUnavailable, Unstorable."""
        check_row(credentials)
        key = (credentials.entity_type, credentials.entity_id)
        sealed = self._seal.close(key, credentials.body)
        token = token_of(credentials)
        await self._change(
            _SAVE_CREDENTIALS,
            (*key, sealed, *credentials[3:], self._seal.hash(token) if token else ""),
        )

    async def with_token(self, token: str) -> EntityKey | None:
        rows = await self._reader.rows(_WITH_TOKEN, (self._seal.hash(token),)) if token else []
        return (rows[0][0], rows[0][1]) if rows else None

    async def edges_of(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Sequence[str]]:
        found: dict[EntityKey, list[str]] = {}
        rows = await self._reader.rows(_EDGES, (json.dumps(list(keys)),))
        for entity_type, entity_id, edge_id in rows:
            found.setdefault((entity_type, entity_id), []).append(edge_id)
        return found

    async def assign(self, key: EntityKey, edge_id: str) -> None:
        """Raises StoreUnavailable, Unstorable."""
        for part in (*key, edge_id):
            key_bytes(part)
        await self._change(_ASSIGN, (*key, edge_id))

    async def unassign(self, key: EntityKey, edge_id: str) -> None:
        await self._change(_UNASSIGN, (*key, edge_id))

    async def _change(self, sql: str, cells: Sequence[Cell]) -> None:
        await self._writer.run(lambda execute: execute(sql, cells).rowcount)


def _save(execute: Execute, rows: Iterable[Sequence[Cell]]) -> None:
    for row in rows:
        execute(_SAVE, row)


def _entity(row: Sequence[Any]) -> Entity:
    entity = Entity(*row)
    return entity._replace(deleted=bool(entity.deleted))
