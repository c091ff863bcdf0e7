"""Fills the Edge queue from the Cloud's log, and tells the sessions that wait for it."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later, Never
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TRACEPARENT, Record
from edgeferry.core.store import EdgeEventRow, EdgeEventStore, PositionStore
from edgeferry.log.codec import decode_edge_event
from edgeferry.log.topics import site_topic
from edgeferry.streams.processor import Dead, Outputs, TopicPartition
from edgeferry.sync.lanes import DOWN
from edgeferry.sync.queue_bounds import QueueBounds, Retention
from edgeferry.sync.send_log import OutboxTopics

_EXPIRE_SECONDS = 600.0
_NEWEST = 2_000
"""More than a hop repeats after a kill."""
_READ_BYTES = 1_000_000

log = logging.getLogger(__name__)


class QueueNews:
    """Tells the sessions of this process which lanes of which edge have grown."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    def tell(self, edge_id: str, lane: str) -> None:
        for event in self._waiting.get((edge_id, lane), ()):
            event.set()

    @contextmanager
    def listening(self, edge_id: str, lane: str) -> Iterator[asyncio.Event]:
        """An event that is set when the lane grows."""
        event, place = asyncio.Event(), (edge_id, lane)
        self._waiting[place].add(event)
        try:
            yield event
        finally:
            self._waiting[place].discard(event)
            if not self._waiting[place]:
                del self._waiting[place]


class _Newest:
    """The uids of a lane's newest events: one that comes again was made again, by one who was
    killed after it had left (on Kafka a hop is repeated then)."""

    def __init__(self, uids: Iterable[str]) -> None:
        self._uids: dict[str, None] = dict.fromkeys(uids)

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, uid: str) -> None:
        self._uids[uid] = None
        if len(self._uids) > _NEWEST:
            del self._uids[next(iter(self._uids))]


class EdgeQueue:
    """A ``streams.processor.Processor`` over the topics of both lanes. Nothing leaves it: the
    queue knows by source and offset what it has, so a repeated batch adds nothing; and by its
    id an event that stands in the log twice."""

    def __init__(
        self,
        *,
        site: str,
        store: EdgeEventStore,
        positions: PositionStore,
        topics: OutboxTopics,
        news: QueueNews,
        clock: Clock,
        retention: Retention | None = None,
    ) -> None:
        self._site = site
        self._store = store
        self._log_topics = topics
        self._news = news
        self._clock = clock
        self._bounds = QueueBounds(
            store=store, positions=positions, retention=retention or Retention()
        )
        self._lanes = {site_topic(site, lane): lane for lane in DOWN}
        self._ids: dict[str, str] = {}
        self._expired_at: float | None = None
        self._newest: dict[tuple[str, str], _Newest] = {}

    @property
    def name(self) -> str:
        return f"{self._site}.edge-queue"

    @property
    def chain(self) -> str:
        return ""

    @property
    def node(self) -> str:
        return "edge-queue"

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(self._lanes)

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        """See ``Processor``. Raises StoreUnavailable, LogUnavailable (Later)."""
        rows: list[EdgeEventRow] = []
        for record in records:
            try:
                rows.append(await self._row(record))
            except Never as error:
                outputs.dead.append(Dead(record, error))
        rows = await self._new(rows)
        await self._store.append(rows)
        for row in rows:
            (await self._newest_of(row)).add(row.uid)
        for edge_id, lane in {(row.edge_id, row.lane) for row in rows}:
            self._news.tell(edge_id, lane)

    async def _new(self, rows: Sequence[EdgeEventRow]) -> list[EdgeEventRow]:
        """Of two with one uid the first."""
        found: dict[tuple[str, str, str], EdgeEventRow] = {}
        for row in rows:
            if row.uid not in await self._newest_of(row):
                found.setdefault((row.edge_id, row.lane, row.uid), row)
        return list(found.values())

    async def _newest_of(self, row: EdgeEventRow) -> _Newest:
        """Raises StoreUnavailable."""
        place = (row.edge_id, row.lane)
        if place not in self._newest:
            start, end = await self._store.ends(*place)
            seq, uids = max(start, end - _NEWEST), list[str]()
            while seq < end and (some := await self._store.read(*place, seq, _READ_BYTES)):
                uids += [event.uid for event in some]
                seq = some[-1].seq + 1
            self._newest[place] = _Newest(uids)
        return self._newest[place]

    async def _row(self, record: Record) -> EdgeEventRow:
        told = decode_edge_event(record.value)
        event, headers = told.event, dict(record.headers)
        return EdgeEventRow(
            edge_id=told.edge_id,
            lane=self._lanes[record.topic],
            source=f"{await self._topic_id(record.topic)}/{record.partition}",
            offset=record.offset,
            created_time=event.created_time,
            action=event.action,
            type=event.type,
            entity_type=event.entity_type,
            entity_id=event.entity_id,
            uid=told.uid or event.id,
            traceparent=headers.get(HEADER_TRACEPARENT, b"").decode(errors="replace"),
            origin=headers.get(HEADER_ORIGIN, b"").decode(errors="replace"),
            value=record.value or b"",
        )

    async def _topic_id(self, topic: str) -> str:
        """Asked again after each assignment: a topic that was made anew counts from 0."""
        if topic not in self._ids:
            self._ids[topic] = await self._log_topics.topic_id(topic)
        return self._ids[topic]

    async def delivered(self, records: Sequence[Record]) -> None:
        now = self._clock.monotonic()
        if self._expired_at is not None and now - self._expired_at < _EXPIRE_SECONDS:
            return
        self._expired_at = now
        try:
            await self._bounds.keep(self._clock.now_ms())
        except Later as error:
            log.warning("old events leave the Edge queue later: %s", error)

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        self._ids.clear()
        self._newest.clear()
