"""A lane that this side sends, in one session, and how much of it at once."""

import asyncio
from dataclasses import dataclass

from edgeferry.sync.flow import SendLane
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.sync_pb2 import Made


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """batch_bytes and in_flight: what this side sends; window: what it lets come, per lane."""

    batch_bytes: int = 262_144
    in_flight: int = 8
    window: int = 2_097_152


class Sending:
    """A lane that this side sends, in this session."""

    def __init__(self, outbox: Outbox, limits: LinkLimits) -> None:
        self.outbox = outbox
        self.lane = SendLane(batch_bytes=limits.batch_bytes, in_flight=limits.in_flight)
        self.changed = asyncio.Event()
        self.idle = asyncio.Event()
        self.held_by_schema: int | None = None
        self._oldest_ms: int | None = None
        outbox.session = self.lane

    @property
    def name(self) -> str:
        return self.outbox.lane

    async def look(self) -> None:
        """Ask the log what ``made`` tells. Raises LogUnavailable, StoreUnavailable,
        OffsetOutOfRange."""
        await self.outbox.end()
        self._oldest_ms = await self.outbox.oldest_ms()

    def made(self, now_ms: int) -> Made:
        """As of the last ``look``."""
        told = Made(lane=self.name, end=self.outbox.last_end, sent=self.lane.next_offset)
        if self._oldest_ms is not None:
            told.oldest_age_ms = max(0, now_ms - self._oldest_ms)
        if self.outbox.all_below is not None:
            told.all_below = self.outbox.all_below
        return told

    async def room(self) -> None:
        while not self.lane.has_room():
            if not self.lane.open:
                self.idle.set()  # it cannot go before others: they need not wait for it
            self.changed.clear()
            await self.changed.wait()
