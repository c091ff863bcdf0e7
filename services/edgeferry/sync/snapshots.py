"""Wishes that what stands of entities goes over the link again, for the owner of changes.

What it makes of them carries the versions that stand, so that the other side takes what it lacks
and ignores what it has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.core.changes import WHOLE_SNAPSHOT, EntityAction, EntityChange
from edgeferry.core.clock import Clock
from edgeferry.core.ids import derived_id
from edgeferry.core.message import EntityType
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.core.store import Entity, EntityKey, EntityOrder, EntityStore
from edgeferry.log.change_codec import encode_change
from edgeferry.log.topics import site_topic
from edgeferry.sync.caps import fill
from edgeferry.sync.outbox_watch import WatchedLane

_PAGE: Final = 500
_MOST: Final = 100
"""Entities at once."""
_EVENTS_OF_ONE: Final = 10
"""At most, that an entity's snapshot makes."""
_ROOM_BELOW: Final = 0.5
"""How full the lane may be: what is sent again must not be dropped in turn."""
_KINDS: Final = (EntityType.DEVICE, EntityType.ASSET, EntityType.ENTITY_VIEW, EntityType.EDGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshots:
    """``origin``: of this site's decisions."""

    site: str
    tenant_id: str
    origin: str
    entities: EntityStore
    writer: LogWriter
    clock: Clock

    @property
    def topic(self) -> str:
        return site_topic(self.site, "attribute-changes")

    async def all_keys(self) -> list[EntityKey]:
        """Of all entities of this site. Raises StoreUnavailable."""
        found: list[Entity] = []
        for kind in _KINDS:
            total, skip = 1, 0
            while skip < total:
                some, total = await self.entities.page(
                    self.tenant_id, kind, _PAGE, skip, order=EntityOrder.OLDEST
                )
                found += some
                skip += _PAGE
        return _keys(found)

    async def keys_of(self, edge_id: str) -> list[EntityKey]:
        """Of what is assigned to an edge, and of the edge itself. Raises StoreUnavailable."""
        found: list[Entity] = []
        for kind in _KINDS[:-1]:
            total, skip = 1, 0
            while skip < total:
                some, total = await self.entities.assigned(
                    edge_id, kind, _PAGE, skip, order=EntityOrder.OLDEST
                )
                found += some
                skip += _PAGE
        edge = (await self.entities.entities([(EntityType.EDGE, edge_id)])).values()
        return _keys([*found, *(one for one in edge if one.version and not one.deleted)])

    async def deleted(self, keys: Sequence[EntityKey]) -> list[EntityKey]:
        """Those of them that are. Raises StoreUnavailable."""
        found: list[EntityKey] = []
        for begin in range(0, len(keys), _PAGE):
            known = await self.entities.entities(keys[begin : begin + _PAGE])
            found += [key for key, one in known.items() if one.deleted]
        return found

    async def wish(
        self, keys: Sequence[EntityKey], cause: str, *, edge_id: str = "", whole: bool = False
    ) -> None:
        """``cause``: makes the wishes others than those of another pass. ``edge_id``: whom they
        are for, in the Cloud. ``whole``: at an Edge, also what was not decided there.

        Raises LogUnavailable."""
        for begin in range(0, len(keys), _MOST):
            part = keys[begin : begin + _MOST]
            await self.writer.append([self._wish(key, cause, edge_id, whole) for key in part])

    def _wish(self, key: EntityKey, cause: str, edge_id: str, whole: bool) -> Outgoing:
        now_ms = self.clock.now_ms()
        change = EntityChange(
            id=derived_id(f"{self.origin}/{key[1]}/{cause}/{now_ms}", f"snapshot/{edge_id}", 0),
            tenant_id=self.tenant_id,
            entity_type=key[0],
            entity_id=key[1],
            action=EntityAction.SNAPSHOT,
            origin=self.origin,
            created_time=now_ms,
            edge_id=edge_id,
            body=WHOLE_SNAPSHOT if whole else "",
        )
        return Outgoing(self.topic, key[1].encode(), encode_change(change))


class PassUp:
    """One walk over all entities of an Edge, as fast as the lane has room for what they make."""

    def __init__(
        self, lane: WatchedLane, snapshots: Snapshots, cause: str, *, whole: bool = False
    ) -> None:
        self._cause = cause
        self._lane = lane
        self._snapshots = snapshots
        self._whole = whole
        self._keys: Sequence[EntityKey] | None = None
        self._done = 0

    async def step(self) -> bool:
        """Wish as much as there is room for; whether it is through.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        if not await self._room():
            return False
        if self._keys is None:  # all at once: a page moves when an entity goes meanwhile
            self._keys = await self._snapshots.all_keys()
        cap = self._lane.caps.max_events
        most = max(1, min(_MOST, round(cap * _ROOM_BELOW) // _EVENTS_OF_ONE)) if cap else _MOST
        part = self._keys[self._done : self._done + most]
        await self._snapshots.wish(part, self._cause, whole=self._whole)
        self._done += len(part)
        return self._done >= len(self._keys)

    @property
    def count(self) -> int:
        """Of entities that are wished for by now."""
        return self._done

    async def _room(self) -> bool:
        figures = await self._lane.outbox.figures()
        now_ms = self._snapshots.clock.now_ms()
        return fill(self._lane.caps, figures, now_ms).ratio < _ROOM_BELOW


def _keys(found: Sequence[Entity]) -> list[EntityKey]:
    return list(dict.fromkeys((one.entity_type, one.entity_id) for one in found))
