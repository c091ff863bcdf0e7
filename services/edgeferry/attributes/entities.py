"""Changes of entities, their credentials and their edges, and what follows from each.

A snapshot is read here, in the order of the entity's changes: what was applied before is in
it, what comes after finds the assignment.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.fanout import MAKER, attributes_event, names, without_credentials
from edgeferry.core.changes import EntityAction, EntityChange, edge_of, edge_origin
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Scope, TsPoint
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
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
        self._timeseries = timeseries

    async def facts(self, keys: Sequence[EntityKey]) -> dict[EntityKey, Facts]:
        """Of each key. Raises StoreUnavailable."""
        known = await self._store.entities(keys)
        edges = {} if self._here.edge_id else await self._edges_of(keys, known)
        wanted = sorted({edge for found in edges.values() for edge in found})
        of_edges = await self._store.entities([(EntityType.EDGE, edge) for edge in wanted])
        off = frozenset(edge_id for (_, edge_id), edge in of_edges.items() if _is_off(edge))
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

    async def _edges_of(
        self, keys: Sequence[EntityKey], known: Mapping[EntityKey, Entity]
    ) -> dict[EntityKey, Sequence[str]]:
        """What is about an edge itself is for that edge."""
        assigned = await self._store.edges_of(keys)
        return {**assigned, **{key: (key[1],) for key in known if key[0] == EntityType.EDGE}}

    async def apply(self, change: EntityChange, now_ms: int, out: Consequences) -> None:
        """Raises StoreUnavailable, InvalidPayload."""
        key = (change.entity_type, change.entity_id)
        match change.action:
            case EntityAction.SAVED | EntityAction.DELETED:
                await self._save(change, key, now_ms, out)
            case EntityAction.CREDENTIALS:
                await self._credentials(change, key, now_ms, out)
            case EntityAction.ASSIGNED if self._here.edge_id:
                await self._come(change, key, out)
            case EntityAction.UNASSIGNED if self._here.edge_id:
                await self._leave(change, key, out)
            case EntityAction.ASSIGNED:
                await self._store.assign(key, _edge(change))
                await self._snapshot(change, key, "ASSIGNED_TO_EDGE", out)
                await self._announce(change, key, "ENTITY_ASSIGNED_TO_EDGE", out)
            case EntityAction.UNASSIGNED:
                await self._store.unassign(key, _edge(change))
                event = await self._event(change, key, "UNASSIGNED_FROM_EDGE", _edge(change))
                self._down(event, _edge(change), out)
                await self._announce(change, key, "ENTITY_UNASSIGNED_FROM_EDGE", out)
            case EntityAction.SNAPSHOT:
                await self._snapshot(change, key, "UPDATED", out)

    async def _save(
        self, change: EntityChange, key: EntityKey, now_ms: int, out: Consequences
    ) -> None:
        stands = (await self._store.entities([key])).get(key)
        body = _object(change.body)
        if body.get("shell") is True:
            if stands is None:
                await self._store.save_entities([_entity(change, body, stands, (0, ""))])
                await self._own_by_origin(change, key)
            return
        deleted = change.action is EntityAction.DELETED
        version = self._version(change, stands, now_ms)
        if version is None:
            return
        entity = _entity(change, body, stands, version)
        edges = (await self._store.edges_of([key])).get(key, ())
        if stands is not None and stands.deleted and not deleted:
            for edge_id in edges:
                await self._store.unassign(key, edge_id)
            edges = ()
        await self._store.save_entities([entity])
        created = stands is None or stands.version == 0 or stands.deleted
        if deleted:  # its edges stay: the same change, repeated, tells them again
            await self._attributes.delete_entity(*key)
        else:
            edges = [*edges, *await self._own_by_origin(change, key)]
        action = "DELETED" if deleted else "ADDED" if created else "UPDATED"
        await self._received_credentials(change, key, body)
        self._commands(change, key, out)
        await self._to_sites(change, key, action, edges, out)
        type_ = "ENTITY_DELETED" if deleted else "ENTITY_CREATED" if created else "ENTITY_UPDATED"
        await self._announce(change, key, type_, out)

    async def _come(self, change: EntityChange, key: EntityKey, out: Consequences) -> None:
        """At an Edge: the Cloud gave it the entity, whether it had it before or not."""
        stands = (await self._store.entities([key])).get(key)
        body = _object(change.body)
        version = change.version, change.origin
        if stands is not None and version < (stands.version, stands.origin):
            entity = stands._replace(deleted=False, event_id=change.id)
        else:
            entity = _entity(change, body, stands, version)
        await self._store.save_entities([entity])
        await self._received_credentials(change, key, body)
        self._commands(change, key, out)
        await self._announce(change, key, "ENTITY_ASSIGNED_TO_EDGE", out)

    async def _leave(self, change: EntityChange, key: EntityKey, out: Consequences) -> None:
        """At an Edge: the entity is another's now. Its values stay until it comes again."""
        stands = (await self._store.entities([key])).get(key)
        if stands is None:
            return
        await self._announce(change, key, "ENTITY_UNASSIGNED_FROM_EDGE", out)
        await self._store.save_entities([stands._replace(deleted=True, event_id=change.id)])
        self._commands(change, key, out)

    async def _received_credentials(
        self, change: EntityChange, key: EntityKey, body: dict[str, Any]
    ) -> None:
        """Those that came with an entity."""
        inner, version = body.get("credentials"), body.get("credentialsVersion")
        if isinstance(inner, dict) and type(version) is int and 0 < version < 2**63:
            text = json.dumps(inner, ensure_ascii=False)
            await self._store.save_credentials(
                Credentials(*key, text, version, change.origin, change.id)
            )

    def _commands(self, change: EntityChange, key: EntityKey, out: Consequences) -> None:
        """Tells the gateways that what they know of a device is old."""
        if key[0] == EntityType.DEVICE:
            out.commands.append(
                RuleMessage(
                    derived_id(change.id, MAKER, 4),
                    change.tenant_id,
                    change.created_time,
                    change.created_time * MICROS_PER_MS,
                    [],
                    MessageType.ENTITY_UPDATED,
                    *key,
                    {},
                    DataType.JSON,
                    "{}",
                )
            )

    async def _own_by_origin(self, change: EntityChange, key: EntityKey) -> Sequence[str]:
        """What an edge has made is assigned to it."""
        edge_id = edge_of(change.origin)
        if not edge_id or self._here.edge_id:
            return ()
        await self._store.assign(key, edge_id)
        return (edge_id,)

    async def _credentials(
        self, change: EntityChange, key: EntityKey, now_ms: int, out: Consequences
    ) -> None:
        inner = _object(change.body).get("credentials")
        text = json.dumps(inner, ensure_ascii=False) if isinstance(inner, dict) else change.body
        version = self._version(change, await self._store.credentials(key), now_ms)
        if version is None:
            return
        await self._store.save_credentials(Credentials(*key, text, *version, change.id))
        self._commands(change, key, out)
        edges = (await self.facts([key]))[key].edges
        await self._to_sites(change, key, "CREDENTIALS_UPDATED", edges, out)

    def _version(
        self, change: EntityChange, stands: Entity | Credentials | None, now_ms: int
    ) -> tuple[int, str] | None:
        """None: a greater one stands. A repeated change gets the one it has."""
        if stands is not None and stands.event_id == change.id:
            return stands.version, stands.origin
        if not change.version:
            above = stands.version + 1 if stands is not None else 0
            return max(now_ms * MICROS_PER_MS, above), self._here.origin
        version = change.version, change.origin
        loses = stands is not None and version <= (stands.version, stands.origin)
        return None if loses else version

    async def _to_sites(
        self,
        change: EntityChange,
        key: EntityKey,
        action: str,
        edges: Sequence[str],
        out: Consequences,
    ) -> None:
        if self._here.edge_id:
            if change.origin == self._here.origin:
                out.cloud_events.append(await self._event(change, key, action, ""))
            return
        for edge_id in dict.fromkeys(edges):
            if change.origin != edge_origin(edge_id):
                self._down(await self._event(change, key, action, edge_id), edge_id, out)

    async def _snapshot(
        self, change: EntityChange, key: EntityKey, action: str, out: Consequences
    ) -> None:
        """The entity, its SERVER and SHARED attributes with their versions (deletes too), its
        latest values."""
        edge_id = _edge(change)
        entity_event = await self._event(change, key, action, edge_id)
        self._down(entity_event, edge_id, out)
        facts = Facts(entity_event.entity_name, entity_event.entity_profile)
        about = (change.tenant_id, *key, change.created_time)
        index = 10
        for scope in (Scope.SERVER, Scope.SHARED):
            rows = await self._attributes.standing(*key, scope)
            for part in (
                [row for row in rows if row.value is not None],
                [row for row in rows if row.value is None],
            ):
                index += 1
                if part:
                    id_ = derived_id(change.id, f"{MAKER}/{edge_id}", index)
                    self._down(attributes_event(id_, about, scope, part, facts), edge_id, out)
        latest = sorted(await self._timeseries.latest(*key), key=lambda entry: entry.ts)
        if latest:
            event = CloudEvent(
                id=derived_id(change.id, f"{MAKER}/{edge_id}", 20),
                created_time=change.created_time,
                stamp=change.created_time * MICROS_PER_MS,
                tenant_id=change.tenant_id,
                action="TIMESERIES_UPDATED",
                type=change.entity_type,
                entity_type=change.entity_type,
                entity_id=change.entity_id,
                entity_name=facts.name,
                entity_profile=facts.profile,
                timeseries=[
                    TsPoint(ts, {entry.key: entry.value for entry in entries})
                    for ts, entries in groupby(latest, key=lambda entry: entry.ts)
                ],
            )
            out.edge_events_ts.append(EdgeEvent(edge_id, event.id, event))

    def _down(self, event: CloudEvent, edge_id: str, out: Consequences) -> None:
        out.edge_events.append(EdgeEvent(edge_id, event.id, event))

    async def _event(
        self, change: EntityChange, key: EntityKey, action: str, edge_id: str
    ) -> CloudEvent:
        entity = (await self._store.entities([key])).get(key)
        credentials = await self._store.credentials(key)
        version = entity.version if entity else 0
        if action == "CREDENTIALS_UPDATED" and credentials is not None:
            version = credentials.version
        return CloudEvent(
            id=derived_id(change.id, f"{MAKER}/{edge_id}", 3),
            created_time=change.created_time,
            stamp=version or change.created_time * MICROS_PER_MS,
            tenant_id=change.tenant_id,
            action=action,
            type=change.entity_type,
            entity_type=change.entity_type,
            entity_id=change.entity_id,
            entity_name=entity.name if entity else "",
            entity_profile=entity.profile if entity else "",
            entity=json.dumps(_shown(key, entity, credentials, version), ensure_ascii=False),
        )

    async def _announce(
        self, change: EntityChange, key: EntityKey, type_: str, out: Consequences
    ) -> None:
        facts = (await self.facts([key]))[key]
        metadata = names(change.entity_type, facts)
        if change.edge_id:
            metadata["assignedEdgeId"] = change.edge_id
        if change.origin != self._here.origin:
            metadata["source"] = "cloud" if self._here.edge_id else "edge"
        out.root.append(
            RuleMessage(
                derived_id(change.id, MAKER, 0),
                change.tenant_id,
                change.created_time,
                change.created_time * MICROS_PER_MS,
                [],
                type_,
                change.entity_type,
                change.entity_id,
                metadata,
                DataType.JSON,
                without_credentials(_object(change.body)),
            )
        )


def _entity(
    change: EntityChange, body: dict[str, Any], stands: Entity | None, version: tuple[int, str]
) -> Entity:
    """What the body does not say stays."""
    info = body.get("additionalInfo")
    return Entity(
        entity_type=change.entity_type,
        entity_id=change.entity_id,
        tenant_id=change.tenant_id,
        name=str(body.get("name") or (stands.name if stands else "")),
        profile=str(body.get("type") or (stands.profile if stands else "")),
        created_time=stands.created_time if stands else change.created_time,
        version=version[0],
        origin=version[1],
        label=str(body["label"] or "") if "label" in body else (stands.label if stands else ""),
        additional_info=json.dumps(info)
        if isinstance(info, dict)
        else (stands.additional_info if stands else "{}"),
        event_id=change.id,
        deleted=change.action is EntityAction.DELETED,
    )


def _shown(
    key: EntityKey, entity: Entity | None, credentials: Credentials | None, version: int
) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": key[1], "version": version}
    if entity is not None:
        shown |= {
            "name": entity.name,
            "type": entity.profile,
            "label": entity.label,
            "additionalInfo": json.loads(entity.additional_info),
        }
    if credentials is not None:
        shown |= {
            "credentials": json.loads(credentials.body),
            "credentialsVersion": credentials.version,
        }
    return shown


def _is_off(edge: Entity) -> bool:
    info = json.loads(edge.additional_info)
    return isinstance(info, dict) and info.get(SWITCH) is False


def _edge(change: EntityChange) -> str:
    """Raises InvalidPayload."""
    if not change.edge_id:
        raise InvalidPayload(f"a change {change.action} wants an edge_id")
    return change.edge_id


def _object(text: str) -> dict[str, Any]:
    """Raises InvalidPayload."""
    try:
        document = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body of an entity change is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidPayload("the body of an entity change is no JSON object")
    return document
