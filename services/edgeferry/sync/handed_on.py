"""How far the events that came over a lane have been handed on: by an Edge's apply, by a
Cloud's intake.

The log tells it: what stood below the ends of the received topic when a position was durable
is handed on once the reader of that topic has committed those ends.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from edgeferry.core.record import LogReader
from edgeferry.sync.flow import ReceiveLane

_MOST_MARKS: Final = 120

Committed = Callable[[str], Awaitable[Mapping[int, int]]]
"""Topic -> the offsets that its reader has committed. Raises LogUnavailable."""


class _Mark(NamedTuple):
    epoch: int
    offset: int
    ends: Mapping[int, int]


class HandedOn:
    """Of one lane in one session. ``offset``: everything below it is handed on, in ``epoch``;
    0, 0 while nothing is known. ``committed``: None where nobody asks."""

    def __init__(self, *, topic: str, reader: LogReader, committed: Committed | None) -> None:
        self._topic = topic
        self._reader = reader
        self._committed = committed
        self._marks: deque[_Mark] = deque()
        self._marked = (0, 0)
        self.epoch = 0
        self.offset = 0

    def within(self, epoch: int) -> int | None:
        return self.offset if self.epoch == epoch else None

    async def look(self, lane: ReceiveLane) -> bool:
        """Whether it is further than before. Raises LogUnavailable."""
        if self._committed is None:
            return False
        before = (self.epoch, self.offset)
        await self._mark(lane)
        if self._marks:
            done = await self._committed(self._topic)
            while self._marks and is_past(done, self._marks[0].ends):
                self.epoch, self.offset, _ = self._marks.popleft()
        return (self.epoch, self.offset) != before

    async def _mark(self, lane: ReceiveLane) -> None:
        """The position first, then the ends: what comes between only makes it wait longer."""
        at = (lane.epoch, lane.durable)
        if at != self._marked and len(self._marks) < _MOST_MARKS:
            ends = await self._reader.ends(self._topic)
            self._marks.append(_Mark(*at, {partition: ends[partition].end for partition in ends}))
            self._marked = at


def is_past(committed: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    return all(committed.get(partition, 0) >= end for partition, end in ends.items())
