"""After events of the general lane left an Edge's log unsent: what is current of its entities
goes up again, so that both sites end with the same attributes and entities."""

import asyncio
import logging
from typing import Final

from edgeferry.core.errors import Later, OffsetOutOfRange, Stop
from edgeferry.core.store import Position, PositionStore
from edgeferry.runtime.background import BackgroundService
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.sync.snapshots import PassUp, Snapshots

_LOOK_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class SentAgain(BackgroundService):
    """A Service of the process that sends the lanes."""

    name = "sent-again"

    def __init__(self, lane: WatchedLane, snapshots: Snapshots, positions: PositionStore) -> None:
        self._lane = lane
        self._snapshots = snapshots
        self._positions = positions
        self._place = f"outbox/{lane.outbox.lane}/sent-again"
        self._known: int | None = None
        self._pass: tuple[int, PassUp] | None = None
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
            stored = await self._positions.load(self._place)
            self._known = stored.offset if stored is not None else 0
        if total < self._known:  # fewer than it seemed: the Cloud had some of them
            await self._keep(total)
        if total == self._known or self._lane.outbox.session is None:
            return
        if self._pass is None:  # ``total`` as it was when the pass began
            self._pass = total, PassUp(self._lane, self._snapshots, f"{total} dropped")
        began_with, walk = self._pass
        if not await walk.step():
            return
        await self._keep(began_with)
        self._pass = None
        log.warning(
            "lane %s: %d events were dropped in all; what is current of %d entities is on its way "
            "to the Cloud again", self._lane.outbox.lane, began_with, walk.count,
        )  # fmt: skip

    async def _keep(self, total: int) -> None:
        await self._positions.save(self._place, Position(0, total, ""))
        self._known = total
