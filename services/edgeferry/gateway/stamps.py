"""Stamps that rise over restarts, also when the clock was set back meanwhile."""

import asyncio
import logging

from edgeferry.core.admission import LANES
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import Later, OffsetOutOfRange, Undecodable
from edgeferry.core.record import LogReader
from edgeferry.core.store import Position, PositionStore
from edgeferry.gateway.context import GatewayContext
from edgeferry.log.codec import decode_message
from edgeferry.log.topics import root_topic
from edgeferry.runtime.background import BackgroundService
from edgeferry.runtime.service import Health

STREAM = "gateway/stamps"
BY = "starting"
_LOOK_SECONDS = 1.0
_AHEAD = 5_000_000
_NEAR = 100_000
"""Stamps: of a clock that runs, microseconds; of one that was set back, so many values."""
_READ_MS = 5000

log = logging.getLogger(__name__)


class StampKeeper(BackgroundService):
    """A Service, started before the gateway. What the log's newest messages have is never given
    again; and where there is a store, no stamp below a mark that is kept there: it is raised
    ahead of the stamps, only while stamps are taken. After a kill the first stamps may be up
    to five seconds ahead of the clock.

    A process without a store (a gateway alone, on Kafka) has the log's newest messages only,
    which are trimmed an hour after they were read."""

    name = "stamps"

    def __init__(
        self,
        context: GatewayContext,
        *,
        reader: LogReader,
        positions: PositionStore | None,
    ) -> None:
        self._topic = root_topic(context.site)
        self._stamps = context.stamps
        self._clock = context.clock
        self._admission = context.admission
        self._most_points = context.limits.keys_per_message
        self._reader = reader
        self._positions = positions
        self._kept = 0
        self._first: int | None = None
        super().__init__()

    async def start(self) -> None:
        """Where the log or the store is away, no messages are taken until it is back: their
        stamps might fall."""
        for lane in LANES:
            self._admission.refuse(BY, lane, "this site is starting: send again later")
        await self._begin()
        await super().start()

    async def _begin(self) -> None:
        try:
            for partition, (start, end) in (await self._reader.ends(self._topic)).items():
                if start < end:
                    await self._observe_newest(partition, end - 1)
            kept = await self._positions.load(STREAM) if self._positions is not None else None
        except Later as error:
            log.warning("the last stamps are not known yet, taking no messages: %s", error)
            return
        if kept is not None:
            self._kept = kept.offset
            self._stamps.observe(kept.offset)
        self._first = self._stamps.next
        for lane in LANES:
            self._admission.admit(BY, lane)

    async def stop(self) -> None:
        """Keeps the exact mark: a restart in order gives stamps of its own time."""
        await super().stop()
        if self._kept > self._stamps.next:
            await self._keep(self._stamps.next)

    def health(self) -> Health:
        crashed = self._task.crashed
        waits = "" if self._first is not None else "the last stamps are not known yet"
        return Health(not crashed, not (crashed or waits), crashed or waits)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Raise the mark when the stamps come near it."""
        given = self._stamps.next
        if self._first is None:
            await self._begin()
            return
        if given == self._first:
            return  # none yet: restarts alone must not drive the mark ahead of the clock
        mark = max(self._clock.now_ms() * MICROS_PER_MS + _AHEAD, given + 2 * _NEAR)
        if mark - self._kept > _AHEAD // 2 or given > self._kept - _NEAR:
            await self._keep(mark)

    async def _keep(self, mark: int) -> None:
        if self._positions is None:
            return
        try:
            await self._positions.save(STREAM, Position(0, mark, ""))
            self._kept = mark
        except Later as error:
            log.warning("the mark of the stamps is kept later: %s", error)

    async def _observe_newest(self, partition: int, offset: int) -> None:
        try:
            records = await self._reader.read(self._topic, partition, offset, 1, _READ_MS)
            for record in records:
                # its points have the stamps that follow
                self._stamps.observe(decode_message(record.value).stamp + self._most_points)
        except (OffsetOutOfRange, Undecodable) as error:  # gone, or not ours: nothing to learn
            log.info("%s-%d at %d tells no stamp: %s", self._topic, partition, offset, error)
