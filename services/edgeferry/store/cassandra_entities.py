"""Entities and their edges in Cassandra.

Each change is several rows of several tables, and a crash may come between them. The row that
decides is written last: until it stands the change is made again, with all its rows.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.side_by_side import side_by_side
from edgeferry.core.store import Credentials, Entity, EntityKey, EntityOrder
from edgeferry.store.cassandra_credentials import CassandraCredentials
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql
from edgeferry.store.seal import Seal
from edgeferry.store.values import check_row, is_storable, key_bytes

_ENTITY = "entity_type = ? AND entity_id = ?"
_AT = f"{_ENTITY} AND edge_id = ?"
_DOWN: Final = (EntityOrder.NEWEST, EntityOrder.NAME_DOWN, EntityOrder.PROFILE_DOWN)


class _Named(NamedTuple):
    """A row of entity_name_cf, or what an entity's would be."""

    name: str
    entity_id: str
    profile: str
    created_time: int


class CassandraEntities:
    """The port core.store.EntityStore."""

    def __init__(self, *, session: CassandraSession, clock: Clock, seal: Seal) -> None:
        self._session = session
        self._clock = clock
        self._credentials = CassandraCredentials(session=session, clock=clock, seal=seal)
        timed, query = "USING TIMESTAMP ?", session.query
        columns = ", ".join(Entity._fields)
        self._find = query(f"SELECT {columns}, writetime(version) FROM entity_cf WHERE {_ENTITY}")
        self._save = query(insert_cql("entity_cf", Entity._fields, timed))
        names = "entity_name_cf WHERE tenant_id = ? AND entity_type = ?"
        row = ", ".join(_Named._fields)
        self._names = query(f"SELECT {row} FROM {names}")
        self._same_name = query(f"SELECT {row} FROM {names} AND name = ?")
        self._put_name = query(
            insert_cql("entity_name_cf", ("tenant_id", "entity_type", *_Named._fields), timed)
        )
        self._drop_name = query(
            "DELETE FROM entity_name_cf USING TIMESTAMP ?"
            " WHERE tenant_id = ? AND entity_type = ? AND name = ? AND entity_id = ?"
        )
        self._edges = query(f"SELECT edge_id, assigned FROM assignment_cf WHERE {_ENTITY}")
        self._assigned = query(f"SELECT writetime(assigned) FROM assignment_cf WHERE {_AT}")
        of_edge = ("edge_id", "entity_type", "entity_id", "assigned")
        self._of_edge = query(
            "SELECT entity_id, assigned FROM edge_entity_cf WHERE edge_id = ? AND entity_type = ?"
        )
        self._set_assigned = query(insert_cql("assignment_cf", of_edge, timed))
        self._set_of_edge = query(insert_cql("edge_entity_cf", of_edge, timed))
        self._changing = asyncio.Lock()

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        wanted = list(dict.fromkeys(keys))
        found = await side_by_side(self._stored(key) for key in wanted)
        return {
            key: stored[0] for key, stored in zip(wanted, found, strict=True) if stored is not None
        }

    async def _stored(self, key: EntityKey) -> tuple[Entity, int] | None:
        """And its timestamp."""
        for *cells, written in await self._session.rows(self._find, key):
            if written is not None:
                entity = Entity(*cells)
                return entity._replace(decisions=entity.decisions or ""), written
        return None

    async def save_entities(self, entities: Sequence[Entity]) -> None:
        """Raises StoreUnavailable (some may stand), Unstorable (nothing stands)."""
        by_key: dict[EntityKey, list[Entity]] = {}
        for entity in entities:
            check_row(entity)
            by_key.setdefault((entity.entity_type, entity.entity_id), []).append(entity)
        async with self._changing:
            await side_by_side(self._save_all(of_one) for of_one in by_key.values())

    async def _save_all(self, entities: Sequence[Entity]) -> None:
        for entity in entities:
            await self._save_one(entity)

    async def _save_one(self, entity: Entity) -> None:
        place = (entity.tenant_id, entity.entity_type)
        stored = await self._stored((entity.entity_type, entity.entity_id))
        now = self._clock.now_ms() * MICROS_PER_MS
        if stored is not None:
            before, written = stored
            if (entity.version, entity.origin) < (before.version, before.origin):
                return
            now = max(now, written + 1)
            if not before.deleted and (entity.deleted or entity.name != before.name):
                old = (before.tenant_id, before.entity_type, before.name, before.entity_id)
                await self._session.rows(self._drop_name, (now, *old))
        if not entity.deleted:
            await self._session.rows(self._put_name, (*place, *_named(entity), now))
        await self._session.rows(self._save, (*entity, now))

    async def named(self, tenant_id: str, entity_type: str, name: str) -> Entity | None:
        if not is_storable(name):
            return None
        rows = await self._session.rows(self._same_name, (tenant_id, entity_type, name))
        rows.sort(key=lambda row: (_Named(*row).created_time, _Named(*row).entity_id))
        for entity in await self._of(entity_type, [_Named(*row).entity_id for row in rows]):
            if entity.name == name:
                return entity
        return None

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
        names = [_Named(*row) for row in await self._session.rows(
            self._names, (tenant_id, entity_type)
        )]  # fmt: skip
        found = _ordered([one for one in names if profile in ("", one.profile)], text, order)
        wanted = [one.entity_id for one in found[skip : skip + limit]]
        return await self._of(entity_type, wanted), len(found)

    async def profiles(self, tenant_id: str, entity_type: str) -> Sequence[str]:
        rows = await self._session.rows(self._names, (tenant_id, entity_type))
        return sorted({_Named(*row).profile for row in rows})

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
        rows = await self._session.rows(self._of_edge, (edge_id, entity_type))
        entities = await self._of(entity_type, [entity_id for entity_id, is_so in rows if is_so])
        by_id = {entity.entity_id: entity for entity in entities}
        found = _ordered([_named(entity) for entity in entities], text, order)
        return [by_id[one.entity_id] for one in found[skip : skip + limit]], len(found)

    async def _of(self, entity_type: str, ids: Sequence[str]) -> list[Entity]:
        """In this order, without the deleted ones."""
        found = await self.entities([(entity_type, entity_id) for entity_id in ids])
        return [entity for entity in found.values() if not entity.deleted]

    async def check_key(self) -> None:
        """Raises StoreUnusable when credentials were sealed with another key."""
        await self._credentials.check_key()

    async def credentials(self, key: EntityKey) -> Credentials | None:
        return await self._credentials.get(key)

    async def save_credentials(self, credentials: Credentials) -> None:
        """Raises StoreUnavailable, Unstorable."""
        await self._credentials.save(credentials)

    async def with_token(self, token: str) -> EntityKey | None:
        for key in await self._credentials.with_token(token) if token else ():
            stored = await self._stored(key)
            if stored is None or not stored[0].deleted:
                return key
        return None

    async def edges_of(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Sequence[str]]:
        wanted = list(dict.fromkeys(keys))
        found = await side_by_side(self._session.rows(self._edges, key) for key in wanted)
        edges = {
            key: sorted(edge_id for edge_id, is_so in rows if is_so)
            for key, rows in zip(wanted, found, strict=True)
        }
        return {key: some for key, some in edges.items() if some}

    async def assign(self, key: EntityKey, edge_id: str) -> None:
        """Raises StoreUnavailable, Unstorable."""
        await self._set(key, edge_id, True)

    async def unassign(self, key: EntityKey, edge_id: str) -> None:
        """Raises StoreUnavailable, Unstorable."""
        await self._set(key, edge_id, False)

    async def _set(self, key: EntityKey, edge_id: str, assigned: bool) -> None:
        for part in (*key, edge_id):
            key_bytes(part)
        async with self._changing:
            rows = await self._session.rows(self._assigned, (*key, edge_id))
            written = [at for (at,) in rows if at is not None]
            now = max([self._clock.now_ms() * MICROS_PER_MS, *(at + 1 for at in written)])
            cells = (edge_id, *key, assigned, now)
            await self._session.rows(self._set_of_edge, cells)
            await self._session.rows(self._set_assigned, cells)


def _named(entity: Entity) -> _Named:
    return _Named(entity.name, entity.entity_id, entity.profile, entity.created_time)


def _ordered(found: Sequence[_Named], text: str, order: EntityOrder) -> list[_Named]:
    """Those with the text in their name."""
    part = text.casefold()
    some = [one for one in found if part in one.name.casefold()]
    if order in (EntityOrder.NAME, EntityOrder.NAME_DOWN):
        some.sort(key=lambda one: (one.name.casefold(), one.entity_id))
    elif order in (EntityOrder.PROFILE, EntityOrder.PROFILE_DOWN):
        some.sort(key=lambda one: (one.profile, one.entity_id))
    else:
        some.sort(key=lambda one: (one.created_time, one.entity_id))
    return some[::-1] if order in _DOWN else some
