"""After events of the general lane left an Edge's log unsent: what is current of its entities
goes up again, so that both sites end with the same attributes and entities.

The owner of changes makes the events (a SNAPSHOT of each entity). They carry the versions that
stand, so that the Cloud takes what it lacks and ignores what it has.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later, OffsetOutOfRange, Stop
from edgeferry.core.ids import derived_id
from edgeferry.core.message import EntityType
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.core.store import EntityKey, EntityOrder, EntityStore, Position, PositionStore
from edgeferry.log.change_codec import encode_change
from edgeferry.log.topics import site_topic
from edgeferry.runtime.background import BackgroundService
from edgeferry.sync.caps import fill
from edgeferry.sync.outbox_watch import WatchedLane

_LOOK_SECONDS: Final = 1.0
_PAGE: Final = 500
_MOST: Final = 100
"""Entities at once."""
_EVENTS_OF_ONE: Final = 10
"""At most, that an entity's snapshot makes."""
_ROOM_BELOW: Final = 0.5
"""How full the lane may be: what is sent again must not be dropped in turn."""
_KINDS: Final = (EntityType.DEVICE, EntityType.ASSET, EntityType.ENTITY_VIEW, EntityType.EDGE)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAgainParts:
    """``origin``: of this Edge's decisions."""

    site: str
    tenant_id: str
    origin: str
    entities: EntityStore
    positions: PositionStore
    writer: LogWriter
    clock: Clock


@dataclass(slots=True)
class _Pass:
    """``total``: events that were dropped when it began."""

    total: int
    keys: Sequence[EntityKey]
    done: int = 0


class SentAgain(BackgroundService):
    """A Service of the process that sends the lanes."""

    name = "sent-again"

    def __init__(self, lane: WatchedLane, parts: SentAgainParts) -> None:
        self._lane = lane
        self._parts = parts
        self._topic = site_topic(parts.site, "attribute-changes")
        self._place = f"outbox/{lane.outbox.lane}/sent-again"
        self._known: int | None = None
        self._pass: _Pass | None = None
        super().__init__()

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (Later, Stop, OffsetOutOfRange) as error:
                log.debug("what was dropped is sent again later: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Send again as much as there is room for, when there is anything to.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        total = (await self._lane.outbox.dropped()).total
        if self._known is None:
            stored = await self._parts.positions.load(self._place)
            self._known = stored.offset if stored is not None else 0
        if total < self._known:  # fewer than it seemed: the Cloud had some of them
            await self._keep(total)
        if total == self._known or self._lane.outbox.session is None or not await self._room():
            return
        if self._pass is None:
            self._pass = _Pass(total, await self._keys())
        await self._send(self._pass)

    async def _room(self) -> bool:
        figures = await self._lane.outbox.figures()
        now_ms = self._parts.clock.now_ms()
        return fill(self._lane.caps, figures, now_ms).ratio < _ROOM_BELOW

    async def _keys(self) -> list[EntityKey]:
        """Of all at once: a page moves when an entity goes meanwhile."""
        keys: list[EntityKey] = []
        for kind in _KINDS:
            total, skip = 1, 0
            while skip < total:
                found, total = await self._parts.entities.page(
                    self._parts.tenant_id, kind, _PAGE, skip, order=EntityOrder.OLDEST
                )
                keys += [(kind.value, one.entity_id) for one in found]
                skip += _PAGE
        return list(dict.fromkeys(keys))

    async def _send(self, now: _Pass) -> None:
        cap = self._lane.caps.max_events
        most = max(1, min(_MOST, round(cap * _ROOM_BELOW) // _EVENTS_OF_ONE)) if cap else _MOST
        part = now.keys[now.done : now.done + most]
        await self._parts.writer.append([self._snapshot(key, now.total) for key in part])
        now.done += len(part)
        if now.done < len(now.keys):
            return
        await self._keep(now.total)
        self._pass = None
        log.warning(
            "lane %s: %d events were dropped in all; what is current of %d entities is on its way "
            "to the Cloud again", self._lane.outbox.lane, now.total, len(now.keys),
        )  # fmt: skip

    async def _keep(self, total: int) -> None:
        await self._parts.positions.save(self._place, Position(0, total, ""))
        self._known = total

    def _snapshot(self, key: EntityKey, total: int) -> Outgoing:
        parts, now_ms = self._parts, self._parts.clock.now_ms()
        change = EntityChange(
            id=derived_id(f"{parts.origin}/{key[1]}/{total}/{now_ms}", self.name, 0),
            tenant_id=parts.tenant_id,
            entity_type=key[0],
            entity_id=key[1],
            action=EntityAction.SNAPSHOT,
            origin=parts.origin,
            created_time=now_ms,
        )
        return Outgoing(self._topic, key[1].encode(), encode_change(change))
