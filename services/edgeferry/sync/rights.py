"""Of what an edge may write: what is assigned to it, what it has made, and itself.

An entity that nobody knows is the edge's own: the data that came before its entity makes a
shell, which the entity fills. Everything else is refused, whatever the event says.
"""

import json
from collections.abc import Iterable
from typing import Final

from edgeferry.core.changes import EntityAction, EntityChange, edge_origin
from edgeferry.core.clock import Clock
from edgeferry.core.errors import Refused
from edgeferry.core.ids import derived_id, is_entity_id
from edgeferry.core.message import EntityType
from edgeferry.core.record import Outgoing
from edgeferry.core.store import EntityKey, EntityStore
from edgeferry.log.change_codec import encode_change
from edgeferry.log.topics import site_topic
from edgeferry.sync.quick_events import EventHead

_SECONDS: Final = 5.0
"""So long an answer stands: an edge that lost an entity may write about it until then."""
_MOST: Final = 100_000
_OWNED: Final = frozenset({EntityType.DEVICE, EntityType.ASSET, EntityType.ENTITY_VIEW})
"""Kinds of entities that an edge can make."""

Wish = tuple[str, EventHead]
"""Edge id, and of what it writes."""


class NotTheEdges(Refused):
    """The operator acts: the entity is assigned to the edge, and the dead letter replayed."""


class EdgeRights:
    def __init__(self, *, site: str, tenant_id: str, store: EntityStore, clock: Clock) -> None:
        self._topic = site_topic(site, "attribute-changes")
        self._tenant_id = tenant_id
        self._store = store
        self._clock = clock
        self._known: dict[tuple[str, str, str], tuple[bool, float]] = {}

    async def look(self, wishes: Iterable[Wish], created_time: int) -> list[Outgoing]:
        """Learn what is not known yet; the changes that make shells. To be asked before
        ``check``. Raises StoreUnavailable."""
        now = self._clock.monotonic()
        asked: dict[tuple[str, str, str], Wish] = {}
        for wish in wishes:
            place = (wish[0], wish[1].entity_type, wish[1].entity_id)
            known = self._known.get(place)
            if known is None or known[1] < now:
                asked.setdefault(place, wish)
        if not asked:
            return []
        if len(self._known) + len(asked) > _MOST:
            self._known.clear()
        keys: list[EntityKey] = list({place[1:]: None for place in asked})
        entities = await self._store.entities(keys)
        edges = await self._store.edges_of(keys)
        shells: dict[EntityKey, Outgoing] = {}
        for place, (edge_id, head) in asked.items():
            key = place[1:]
            allowed = edge_id in edges.get(key, ()) or key == (EntityType.EDGE, edge_id)
            unknown = key not in entities and key[0] in _OWNED and is_entity_id(key[1])
            if not allowed and unknown and key not in shells:
                shells[key] = self._shell(edge_id, head, created_time)
                allowed = True
            self._known[place] = (allowed, now + _SECONDS)
        return list(shells.values())

    def check(self, edge_id: str, head: EventHead) -> None:
        """Raises NotTheEdges."""
        allowed, _ = self._known[edge_id, head.entity_type, head.entity_id]
        if not allowed:
            raise NotTheEdges(
                f"{head.entity_type} {head.entity_id} is not assigned to edge {edge_id}: assign "
                "it and replay this dead letter, or remove it at the Edge"
                if is_entity_id(head.entity_id)
                else f"{head.entity_id!r} is no id of an entity, a version-1 UUID"
            )

    def _shell(self, edge_id: str, head: EventHead, created_time: int) -> Outgoing:
        change = EntityChange(
            id=derived_id(head.id, "intake.shell", 0),
            tenant_id=self._tenant_id,
            entity_type=head.entity_type,
            entity_id=head.entity_id,
            action=EntityAction.SAVED,
            origin=edge_origin(edge_id),
            created_time=created_time,
            body=json.dumps({"shell": True, "name": head.entity_name, "type": head.entity_profile}),
        )
        return Outgoing(self._topic, head.entity_id.encode(), encode_change(change))
