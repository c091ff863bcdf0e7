"""Where an Edge finds that its Cloud's store is new: all that stands here goes up once more.

The Cloud is known by the identity of its store, which it tells in each handshake. The one that
all has gone up to is kept, so a pass that was killed begins again. When all of it is in the
lane's log, the Cloud is told below which offset (``Made`` in schemas/sync.proto): what it has of
this Edge by then it sends down, so that both end with the same.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.core.errors import Later, OffsetOutOfRange, Stop
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.port import GroupReader
from edgeferry.runtime.background import BackgroundService
from edgeferry.sync.handed_on import is_past
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.sync.snapshots import PassUp, Snapshots

_LOOK_SECONDS: Final = 1.0
_PLACE: Final = "exchange/cloud"

log = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """``cloud``: the identity that all has gone up to, below an offset of the lane's log (None:
    there was no need), which is the log ``log_id``."""

    cloud: str
    below: int | None = None
    log_id: str = ""

    def pack(self) -> Position:
        detail = json.dumps({"below": self.below, "log_id": self.log_id})
        return Position(0, 0, self.cloud, detail)

    @staticmethod
    def unpack(stored: Position) -> "_Kept":
        return _Kept(stored.incarnation, **json.loads(stored.detail))


@dataclass(slots=True)
class _Pass:
    """``ends``: of the owner's topic when the last of it was wished for."""

    cloud: str
    walk: PassUp
    ends: Mapping[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllUpParts:
    """``owner``: the group of the owner of changes, as it commits in the log."""

    snapshots: Snapshots
    positions: PositionStore
    reader: GroupReader
    owner: str


class AllUp(BackgroundService):
    """A Service of the process that sends the lanes."""

    name = "all-up"

    def __init__(self, lane: WatchedLane, parts: AllUpParts) -> None:
        """``lane``: the general one."""
        self._outbox = lane.outbox
        self._lane = lane
        self._parts = parts
        self._kept: _Kept | None = None
        self._met = ""
        self._pass: _Pass | None = None
        super().__init__()

    @property
    def under_way(self) -> bool:
        return self._kept is not None and self._kept.cloud != self._met

    async def meets(self, cloud: str) -> None:
        """In each handshake, before the lane begins. ``cloud``: the identity of its store.

        Raises LogUnavailable, StoreUnavailable."""
        if self._kept is None:
            stored = await self._parts.positions.load(_PLACE)
            if stored is None:
                await self._keep(_Kept(self._outbox.peer or cloud))
            else:
                self._kept = _Kept.unpack(stored)
        if self._met != cloud:
            self._met, self._pass = cloud, None
        self._outbox.all_below = await self._below()

    async def _below(self) -> int | None:
        kept = self._kept
        if kept is None or kept.cloud != self._met or kept.below is None:
            return None
        facts = await self._outbox.log.facts()
        if kept.log_id != facts.log_id:  # of a log that was moved: offsets count from anew
            await self._keep(kept._replace(below=facts.end, log_id=facts.log_id))
            return facts.end
        return kept.below

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (Later, Stop, OffsetOutOfRange) as error:
                log.debug("all is sent up later: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """One step, where there is one to take.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        if not self.under_way or self._outbox.session is None:
            return
        if self._pass is None:
            walk = PassUp(self._lane, self._parts.snapshots, self._met, whole=True)
            self._pass = _Pass(self._met, walk)
            log.warning(
                "the store of the Cloud is new, or older than it was: all entities of this site "
                "are sent to it again, with their attributes and credentials"
            )
        now, reader, topic = self._pass, self._parts.reader, self._parts.snapshots.topic
        if now.ends is None:
            if not await now.walk.step():
                return
            ends = await reader.ends(topic)
            now.ends = {partition: one.end for partition, one in ends.items()}
        if not is_past(await reader.committed(self._parts.owner, topic), now.ends):
            return
        facts = await self._outbox.log.facts()
        await self._keep(_Kept(now.cloud, facts.end, facts.log_id))
        self._outbox.all_below = await self._below()
        if self._pass is now:  # else another Cloud was met meanwhile
            self._pass = None
        log.warning("%d entities are on their way to the Cloud again", now.walk.count)

    async def _keep(self, kept: _Kept) -> None:
        await self._parts.positions.save(_PLACE, kept.pack())
        self._kept = kept
