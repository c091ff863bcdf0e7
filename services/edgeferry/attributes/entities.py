"""Changes of entities, their credentials and their edges: decided once each, in their order.

What a change decides is kept with the entity, in the row that is written last: until it stands
the change is made again, and makes the same; from then on only what follows is told again.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from edgeferry.attributes.entity_bodies import (
    credentials_text,
    edge_in,
    maker_at,
    merged,
    object_of,
)
from edgeferry.attributes.entity_decisions import (
    EntityDecision,
    EntityOutcome,
    decision_of,
    is_forgotten,
    with_decision,
)
from edgeferry.attributes.entity_events import EntityEvents, hears
from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.versions import entity_version
from edgeferry.core.changes import EntityAction, EntityChange, edge_of, edge_origin
from edgeferry.core.entity_store import maker_of
from edgeferry.core.errors import Refused
from edgeferry.core.message import EntityType
from edgeferry.core.store import (
    AttributesStore,
    Credentials,
    Entity,
    EntityKey,
    EntityStore,
    TimeseriesStore,
)

SWITCH: Final = "attributeSync"
"""False in an edge's additionalInfo: it gets no attributes by themselves."""


class NotTheEdges(Refused):
    """The operator acts: the entity is assigned to the edge, and the dead letter replayed."""


class Entities:
    """Applies ``EntityChange``s to the store."""

    def __init__(
        self,
        *,
        here: Here,
        store: EntityStore,
        attributes: AttributesStore,
        timeseries: TimeseriesStore,
    ) -> None:
        self._here = here
        self._store = store
        self._attributes = attributes
        self._events = EntityEvents(
            here=here, store=store, attributes=attributes, timeseries=timeseries
        )

    async def facts(self, keys: Sequence[EntityKey]) -> dict[EntityKey, Facts]:
        """Of each key. Raises StoreUnavailable."""
        edges: Mapping[EntityKey, Sequence[str]] = {}
        off: frozenset[str] = frozenset()
        if self._here.edge_id:
            known = await self._store.entities(keys)
        else:
            known, assigned = await asyncio.gather(
                self._store.entities(keys), self._store.edges_of(keys)
            )
            edges, off = await self._without_deleted(assigned, known)
        facts = {}
        for key in keys:
            entity = known.get(key)
            if entity is None:
                facts[key] = Facts("", "", edges.get(key, ()), off)
            elif entity.deleted:
                facts[key] = Facts(entity.name, entity.profile, deleted=True)
            else:
                facts[key] = Facts(entity.name, entity.profile, edges.get(key, ()), off)
        return facts

    async def _without_deleted(
        self, assigned: Mapping[EntityKey, Sequence[str]], known: Mapping[EntityKey, Entity]
    ) -> tuple[Mapping[EntityKey, Sequence[str]], frozenset[str]]:
        """The edges that there are, and which of them want no attributes. What is about an edge
        itself is for that edge."""
        found = {**assigned, **{key: (key[1],) for key in known if key[0] == EntityType.EDGE}}
        wanted = sorted({edge for edges in found.values() for edge in edges})
        rows = await self._store.entities([(EntityType.EDGE.value, edge) for edge in wanted])
        gone = {edge_id for (_, edge_id), edge in rows.items() if edge.deleted}
        off = frozenset(edge_id for (_, edge_id), edge in rows.items() if _is_off(edge))
        return {
            key: [edge for edge in edges if edge not in gone] for key, edges in found.items()
        }, off

    async def apply(
        self,
        change: EntityChange,
        now_ms: int,
        out: Consequences,
        source: str = "",
        batch: Sequence[str] = (),
    ) -> None:
        """``source``: where its record stands; ``batch``: ids of the changes of this entity
        that came together, in order. Raises StoreUnavailable, InvalidPayload, NotTheEdges."""
        key = (change.entity_type, change.entity_id)
        stands = (await self._store.entities([key])).get(key)
        decision = decision_of(stands, change.id)
        if decision is None:
            if is_forgotten(stands, change.id, batch):
                return
            decision = await self._decide(change, stands, now_ms, source)
        elif decision.source not in ("", source):
            return  # published a second time: what follows has left with the first record
        if decision.outcome is EntityOutcome.REFUSED:
            raise NotTheEdges(_refusal(change, stands))
        await self._events.tell(change, decision, out)

    async def _decide(
        self, change: EntityChange, stands: Entity | None, now_ms: int, source: str
    ) -> EntityDecision:
        """Apply it, and keep what was decided."""
        decision, entity = await self._applied(change, stands, now_ms)
        decision = decision._replace(source=source)
        if entity is not None:
            await self._store.save_entities([with_decision(entity, stands, decision)])
        return decision

    async def _applied(
        self, change: EntityChange, stands: Entity | None, now_ms: int
    ) -> tuple[EntityDecision, Entity | None]:
        """What is decided, and the entity after it."""
        key = (change.entity_type, change.entity_id)
        if change.action is EntityAction.SAVED and object_of(change.body).get("shell") is True:
            return await self._shell(change, key, stands)
        if not await self._may(change, key, stands):
            return EntityDecision(change.id, EntityOutcome.REFUSED), stands
        match change.action:
            case EntityAction.SAVED | EntityAction.DELETED:
                return await self._save(change, key, stands, now_ms)
            case EntityAction.CREDENTIALS:
                return await self._credentials(change, key, now_ms), stands
            case EntityAction.ASSIGNED if self._here.edge_id:
                return await self._come(change, key, stands, now_ms)
            case EntityAction.UNASSIGNED if self._here.edge_id:
                return self._leave(change, stands)
            case EntityAction.ASSIGNED:
                await self._store.assign(key, edge_in(change))
                outcome = EntityOutcome.ASSIGNED
            case EntityAction.UNASSIGNED:
                await self._store.unassign(key, edge_in(change))
                outcome = EntityOutcome.UNASSIGNED
            case EntityAction.SNAPSHOT if self._here.edge_id:
                return _decided(change, EntityOutcome.SNAPSHOT, stands), stands
            case EntityAction.SNAPSHOT:
                edge_in(change)
                outcome = EntityOutcome.SNAPSHOT
        return _decided(change, outcome, stands, [change.edge_id]), stands

    async def _may(self, change: EntityChange, key: EntityKey, stands: Entity | None) -> bool:
        """An edge changes what is its own: what it makes, and what is assigned to it now. It
        deletes only what it made."""
        edge_id = edge_of(change.origin)
        if not edge_id or self._here.edge_id or stands is None:
            return True
        deletes = change.action is EntityAction.DELETED
        if deletes and maker_of(stands) not in ("", change.origin):
            return False
        return key == (EntityType.EDGE, edge_id) or edge_id in await self._assigned(key)

    async def _assigned(self, key: EntityKey) -> Sequence[str]:
        return (await self._store.edges_of([key])).get(key, ())

    async def _shell(
        self, change: EntityChange, key: EntityKey, stands: Entity | None
    ) -> tuple[EntityDecision, Entity | None]:
        """For data that came before its entity."""
        nothing = EntityDecision(change.id, EntityOutcome.NOTHING)
        if stands is not None:
            return nothing, stands
        await self._own_by_origin(change, key)
        maker = maker_at(change, None, self._here.origin)
        return nothing, merged(change, object_of(change.body), None, (0, ""), maker)

    async def _save(
        self, change: EntityChange, key: EntityKey, stands: Entity | None, now_ms: int
    ) -> tuple[EntityDecision, Entity | None]:
        body = object_of(change.body)
        version = entity_version(change, stands, self._here.origin, now_ms)
        if version is None:
            return _decided(change, EntityOutcome.NOTHING, stands), stands
        deleted = change.action is EntityAction.DELETED
        if stands is None and not deleted:
            await self._own_by_origin(change, key)
        if stands is not None and stands.deleted and not deleted:
            for edge_id in await self._assigned(key):
                if change.origin != edge_origin(edge_id):
                    await self._store.unassign(key, edge_id)
        if deleted:  # its edges stay assigned
            await self._attributes.delete_entity(*key)
        await self._received_credentials(change, key, body, now_ms)
        edges, _ = await self._without_deleted(await self._store.edges_of([key]), {})
        created = stands is None or stands.version == 0 or stands.deleted
        outcome = EntityOutcome.ADDED if created else EntityOutcome.UPDATED
        decision = EntityDecision(
            change.id,
            EntityOutcome.DELETED if deleted else outcome,
            *version,
            [one for one in edges.get(key, ()) if hears(version, change, one, self._here.origin)],
        )
        maker = maker_at(change, stands, self._here.origin)
        return decision, merged(change, body, stands, version, maker)

    async def _come(
        self, change: EntityChange, key: EntityKey, stands: Entity | None, now_ms: int
    ) -> tuple[EntityDecision, Entity | None]:
        """At an Edge: the Cloud gave it the entity, whether it had it before or not."""
        body = object_of(change.body)
        version = change.version, change.origin
        if stands is not None and version < (stands.version, stands.origin):
            entity = stands._replace(deleted=False, event_id=change.id)
        else:
            maker = maker_at(change, stands, self._here.origin)
            entity = merged(change, body, stands, version, maker)
        await self._received_credentials(change, key, body, now_ms)
        return _decided(change, EntityOutcome.ASSIGNED, entity), entity

    def _leave(
        self, change: EntityChange, stands: Entity | None
    ) -> tuple[EntityDecision, Entity | None]:
        """At an Edge: the entity is another's now. Its values stay until it comes again."""
        if stands is None:
            return EntityDecision(change.id, EntityOutcome.NOTHING), None
        entity = stands._replace(deleted=True, event_id=change.id)
        return _decided(change, EntityOutcome.UNASSIGNED, entity), entity

    async def _received_credentials(
        self, change: EntityChange, key: EntityKey, body: dict[str, Any], now_ms: int
    ) -> None:
        """Those that came with an entity."""
        inner, given = body.get("credentials"), body.get("credentialsVersion")
        if not isinstance(inner, dict) or type(given) is not int or given <= 0:
            return
        stands = await self._store.credentials(key)
        version = entity_version(replace(change, version=given), stands, self._here.origin, now_ms)
        if version is not None:
            text = json.dumps(inner, ensure_ascii=False)
            await self._store.save_credentials(Credentials(*key, text, *version, change.id))

    async def _own_by_origin(self, change: EntityChange, key: EntityKey) -> None:
        """What an edge has made is assigned to it."""
        edge_id = edge_of(change.origin)
        if edge_id and not self._here.edge_id and key[0] != EntityType.EDGE:
            await self._store.assign(key, edge_id)

    async def _credentials(
        self, change: EntityChange, key: EntityKey, now_ms: int
    ) -> EntityDecision:
        text = credentials_text(change)
        stands = await self._store.credentials(key)
        version = entity_version(change, stands, self._here.origin, now_ms)
        if version is None:
            return EntityDecision(change.id, EntityOutcome.NOTHING)
        await self._store.save_credentials(Credentials(*key, text, *version, change.id))
        edges = [
            one
            for one in (await self.facts([key]))[key].edges
            if hears(version, change, one, self._here.origin)
        ]
        return EntityDecision(change.id, EntityOutcome.CREDENTIALS, *version, edges)


def _decided(
    change: EntityChange, outcome: EntityOutcome, entity: Entity | None, edges: Sequence[str] = ()
) -> EntityDecision:
    """Of a change that leaves the entity's version as it is."""
    version = (entity.version, entity.origin) if entity is not None else (0, "")
    return EntityDecision(change.id, outcome, *version, edges)


def _refusal(change: EntityChange, stands: Entity | None) -> str:
    what, edge = f"{change.entity_type} {change.entity_id}", edge_of(change.origin)
    if change.action is EntityAction.DELETED and maker_of(stands) not in ("", change.origin):
        return (
            f"{what} was deleted at edge {edge}, which has not made it: delete it here, too, or "
            "unassign it from the edge and assign it again, and the edge has it back"
        )
    return (
        f"{what} was not assigned to edge {edge} when this came: assign it and replay this dead "
        "letter, or remove it at the Edge"
    )


def _is_off(edge: Entity) -> bool:
    info = json.loads(edge.additional_info)
    return isinstance(info, dict) and info.get(SWITCH) is False
