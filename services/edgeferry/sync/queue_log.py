"""The Edge queue as the logs of an edge's lanes down."""

import asyncio
from collections.abc import Callable, Sequence

from edgeferry.core.errors import OffsetOutOfRange
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TRACEPARENT, Record
from edgeferry.core.store import EdgeEventStore, PositionStore, QueuedEvent
from edgeferry.sync.edge_queue import QueueNews
from edgeferry.sync.lanes import DOWN, TELEMETRY_DOWN
from edgeferry.sync.outbox import Outbox, epoch_one
from edgeferry.sync.queue_bounds import stream_of
from edgeferry.sync.resume import LogFacts

_POLL_SECONDS = 0.15
"""For rows that another process appends."""


class QueueLog:
    """One lane of an edge (``sync.send_log.SendLog``); its offsets are those of the queue."""

    def __init__(self, *, edge_id: str, lane: str, store: EdgeEventStore, news: QueueNews) -> None:
        self._edge_id = edge_id
        self._lane = lane
        self._store = store
        self._news = news

    async def facts(self) -> LogFacts:
        """The queue has no identity of its own: one made anew is known by its events."""
        return LogFacts(*await self._store.ends(self._edge_id, self._lane))

    async def read(self, offset: int, max_bytes: int, wait_ms: int) -> Sequence[Record]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_ms / 1000
        with self._news.listening(self._edge_id, self._lane) as grown:
            while True:
                grown.clear()
                start, end = await self._store.ends(self._edge_id, self._lane)
                if offset < start:
                    raise OffsetOutOfRange(f"{self._lane} of edge {self._edge_id} at {offset}")
                if offset < end:
                    return await self._held(offset, max_bytes)
                left = deadline - loop.time()
                if left <= 0:
                    return []
                try:
                    async with asyncio.timeout(min(left, _POLL_SECONDS)):
                        await grown.wait()
                except TimeoutError:
                    pass

    async def _held(self, offset: int, max_bytes: int) -> Sequence[Record]:
        events = await self._store.read(self._edge_id, self._lane, offset, max_bytes)
        if events and events[0].seq != offset:  # it left the queue meanwhile
            raise OffsetOutOfRange(f"{self._lane} of edge {self._edge_id} at {offset}")
        return [_record(event) for event in events]

    async def committed(self, offset: int) -> None:
        """What an Edge has stays for look-up until its time is over."""

    async def acknowledged(self) -> int | None:
        return None

    async def drop(self, below: int) -> None:
        await self._store.drop(self._edge_id, self._lane, below)

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]:
        return await self._store.size(self._edge_id, self._lane, offset), True


class DownLanes:
    """The outboxes of every edge, for ``sync.sessions.CloudSyncParts.down``."""

    def __init__(
        self,
        *,
        store: EdgeEventStore,
        positions: PositionStore,
        news: QueueNews,
        first_epoch: Callable[[], int] = epoch_one,
    ) -> None:
        self._store = store
        self._positions = positions
        self._news = news
        self._first_epoch = first_epoch
        self._outboxes: dict[str, Sequence[Outbox]] = {}

    def __call__(self, edge_id: str) -> Sequence[Outbox]:
        """In order of precedence."""
        if edge_id not in self._outboxes:
            self._outboxes[edge_id] = [self._outbox(edge_id, lane) for lane in DOWN]
        return self._outboxes[edge_id]

    def _outbox(self, edge_id: str, lane: str) -> Outbox:
        log = QueueLog(edge_id=edge_id, lane=lane, store=self._store, news=self._news)
        return Outbox(
            lane=lane,
            log=log,
            positions=self._positions,
            stream=stream_of(edge_id, lane),
            first_epoch=self._first_epoch,
            replays=lane == TELEMETRY_DOWN,
        )


def _record(event: QueuedEvent) -> Record:
    headers = [
        (name, text.encode())
        for name, text in ((HEADER_TRACEPARENT, event.traceparent), (HEADER_ORIGIN, event.origin))
        if text
    ]
    key = event.entity_id.encode()
    return Record(event.lane, 0, event.seq, event.queued_ms, key, event.value, headers)
