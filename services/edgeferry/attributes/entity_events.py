"""What follows from a decided change of an entity: events to the other sites, the message into
the root chain, the news for gateways.

All of it is made from the change and from what was decided, so a repeat makes the same. A
snapshot is read here, in the order of the entity's changes: what was applied before is in it,
what comes after finds the assignment.
"""

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from edgeferry.attributes.entity_bodies import credentials_text, merged, object_of
from edgeferry.attributes.entity_decisions import EntityDecision, EntityOutcome
from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.fanout import MAKER, attributes_event, names, without_credentials
from edgeferry.core.changes import (
    WHOLE_SNAPSHOT,
    EntityAction,
    EntityChange,
    edge_of,
    edge_origin,
)
from edgeferry.core.clock import MICROS_PER_MS
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

_ANNOUNCED: Final[Mapping[EntityOutcome, str]] = {
    EntityOutcome.ADDED: "ENTITY_CREATED",
    EntityOutcome.UPDATED: "ENTITY_UPDATED",
    EntityOutcome.DELETED: "ENTITY_DELETED",
    EntityOutcome.ASSIGNED: "ENTITY_ASSIGNED_TO_EDGE",
    EntityOutcome.UNASSIGNED: "ENTITY_UNASSIGNED_FROM_EDGE",
}
_ENTITY, _CREDENTIALS = 3, 5
"""Numbers of derived ids."""


class _About(NamedTuple):
    change: EntityChange
    decision: EntityDecision
    key: EntityKey
    entity: Entity | None
    credentials: Credentials | None


class EntityEvents:
    """Adds what follows from changes to the consequences."""

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

    async def tell(self, change: EntityChange, decision: EntityDecision, out: Consequences) -> None:
        """Raises StoreUnavailable, InvalidPayload."""
        if decision.outcome is EntityOutcome.NOTHING:
            return
        about = await self._about(change, decision)
        if self._here.edge_id and decision.outcome is EntityOutcome.SNAPSHOT:
            await self._snapshot_up(about, out)
            return
        if self._here.edge_id:
            if change.origin == self._here.origin and decision.outcome in _TOLD_UP:
                out.cloud_events.append(self._event(about, decision.outcome, ""))
        elif decision.outcome in (EntityOutcome.ASSIGNED, EntityOutcome.SNAPSHOT):
            await self._snapshot(about, out)
        else:
            for edge_id in decision.edges:
                self._down(self._event(about, decision.outcome, edge_id), edge_id, out)
            self._credentials_back(about, out)
        if self._here.edge_id or decision.outcome not in _OF_CLOUD_ALONE:
            self._to_gateways(about, out)
        if decision.outcome in _ANNOUNCED:
            self._announce(about, out)

    async def _about(self, change: EntityChange, decision: EntityDecision) -> _About:
        """Of what came later nothing is told but what this change leaves open."""
        key = (change.entity_type, change.entity_id)
        entity = (await self._store.entities([key])).get(key)
        credentials = await self._store.credentials(key)
        if decision.outcome is EntityOutcome.CREDENTIALS:
            text = credentials_text(change)
            credentials = Credentials(*key, text, decision.version, decision.origin)
        elif change.action in (EntityAction.SAVED, EntityAction.DELETED):
            place = decision.version, decision.origin
            entity = merged(change, object_of(change.body), entity, place)
        elif entity is not None:
            entity = entity._replace(version=decision.version)
        return _About(change, decision, key, entity, credentials)

    def _credentials_back(self, about: _About, out: Consequences) -> None:
        """An edge whose credentials came with an entity and got another version hears of it."""
        edge_id = edge_of(about.change.origin)
        mine = about.credentials
        if not edge_id or mine is None or about.decision.outcome is EntityOutcome.CREDENTIALS:
            return
        if mine.event_id == about.change.id and mine.origin == self._here.origin:
            event = self._event(about, EntityOutcome.CREDENTIALS, edge_id, _CREDENTIALS)
            self._down(event, edge_id, out)

    def _to_gateways(self, about: _About, out: Consequences) -> None:
        """What they know of a device is old."""
        if about.key[0] == EntityType.DEVICE:
            message = self._message(about.change, 4, MessageType.ENTITY_UPDATED, {}, "{}")
            out.commands.append(message)

    def _announce(self, about: _About, out: Consequences) -> None:
        change, entity = about.change, about.entity
        facts = Facts(entity.name, entity.profile) if entity is not None else Facts()
        metadata = names(change.entity_type, facts)
        if change.edge_id:
            metadata["assignedEdgeId"] = change.edge_id
        if change.origin != self._here.origin:
            metadata["source"] = "cloud" if self._here.edge_id else "edge"
        data = without_credentials(object_of(change.body))
        type_ = _ANNOUNCED[about.decision.outcome]
        out.root.append(self._message(change, 0, type_, metadata, data))

    def _message(
        self, change: EntityChange, number: int, type_: str, metadata: dict[str, str], data: str
    ) -> RuleMessage:
        return RuleMessage(
            derived_id(change.id, MAKER, number),
            change.tenant_id,
            change.created_time,
            change.created_time * MICROS_PER_MS,
            [],
            type_,
            change.entity_type,
            change.entity_id,
            metadata,
            DataType.JSON,
            data,
        )

    async def _snapshot(self, about: _About, out: Consequences) -> None:
        """The entity, its SERVER and SHARED attributes with their versions (deletes too), its
        latest values. Of one that is deleted, that it is."""
        change, key = about.change, about.key
        edge_id = change.edge_id
        if about.entity is not None and about.entity.deleted:
            self._down(self._event(about, EntityOutcome.DELETED, edge_id), edge_id, out)
            return
        assigned = about.decision.outcome is EntityOutcome.ASSIGNED
        action = EntityOutcome.ASSIGNED if assigned else EntityOutcome.UPDATED
        entity_event = self._event(about, action, edge_id)
        self._down(entity_event, edge_id, out)
        facts = Facts(entity_event.entity_name, entity_event.entity_profile)
        place = (change.tenant_id, *key, change.created_time)
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
                    self._down(attributes_event(id_, place, scope, part, facts), edge_id, out)
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

    async def _snapshot_up(self, about: _About, out: Consequences) -> None:
        """What was decided here, or all that stands here: the entity, its credentials, its
        attributes with their versions (deletes too)."""
        change, entity = about.change, about.entity
        if entity is None or entity.deleted:
            return
        origin, whole = self._here.origin, change.body == WHOLE_SNAPSHOT
        if entity.version and (whole or entity.origin == origin):
            out.cloud_events.append(self._event(about, EntityOutcome.UPDATED, ""))
        if about.credentials is not None and (whole or about.credentials.origin == origin):
            event = self._event(about, EntityOutcome.CREDENTIALS, "", _CREDENTIALS)
            out.cloud_events.append(event)
        place = (change.tenant_id, *about.key, change.created_time)
        facts = Facts(entity.name, entity.profile)
        index = 10
        for scope in Scope:
            rows = await self._attributes.standing(*about.key, scope)
            own = [row for row in rows if whole or row.origin == origin]
            for part in (
                [row for row in own if row.value is not None],
                [row for row in own if row.value is None],
            ):
                index += 1
                if part:
                    id_ = derived_id(change.id, MAKER, index)
                    out.cloud_events.append(attributes_event(id_, place, scope, part, facts))

    def _down(self, event: CloudEvent, edge_id: str, out: Consequences) -> None:
        out.edge_events.append(EdgeEvent(edge_id, event.id, event))

    def _event(
        self, about: _About, action: EntityOutcome, edge_id: str, number: int = _ENTITY
    ) -> CloudEvent:
        change, entity, credentials = about.change, about.entity, about.credentials
        version = entity.version if entity else 0
        if action is EntityOutcome.CREDENTIALS and credentials is not None:
            version = credentials.version
        return CloudEvent(
            id=derived_id(change.id, f"{MAKER}/{edge_id}", number),
            created_time=change.created_time,
            stamp=version or change.created_time * MICROS_PER_MS,
            tenant_id=change.tenant_id,
            action=action,
            type=change.entity_type,
            entity_type=change.entity_type,
            entity_id=change.entity_id,
            entity_name=entity.name if entity else "",
            entity_profile=entity.profile if entity else "",
            entity=json.dumps(_shown(about, version), ensure_ascii=False),
        )


_TOLD_UP = (
    EntityOutcome.ADDED,
    EntityOutcome.UPDATED,
    EntityOutcome.DELETED,
    EntityOutcome.CREDENTIALS,
)
_OF_CLOUD_ALONE = (EntityOutcome.ASSIGNED, EntityOutcome.UNASSIGNED, EntityOutcome.SNAPSHOT)
"""There they change nothing that a gateway knows."""


def hears(decision: tuple[int, str], change: EntityChange, edge_id: str, here: str) -> bool:
    """Whether an edge is told: not what it said itself, unless the Cloud gave that another
    version."""
    if change.origin != edge_origin(edge_id):
        return True
    return bool(change.version) and decision[1] == here


def _shown(about: _About, version: int) -> dict[str, Any]:
    entity, credentials = about.entity, about.credentials
    shown: dict[str, Any] = {"id": about.key[1], "version": version}
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
