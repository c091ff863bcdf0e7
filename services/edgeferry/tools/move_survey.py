"""Looks at a stopped site: which records are still to be read, and by whom."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.core.record import PartitionEnds, Record
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import catalogue, site_topic
from edgeferry.runtime.settings import Settings
from edgeferry.streams.processor import TopicPartition
from edgeferry.sync.inbox import Received
from edgeferry.sync.intake import Intake
from edgeferry.sync.lanes import UP
from edgeferry.sync.moved import (
    acknowledged,
    moved_intake,
    moved_ledger,
    moved_receiver,
    moved_sender,
)
from edgeferry.sync.resume import LogFacts
from edgeferry.tools.move_plan import TopicPlan

_READ_WAIT_MS = 5_000
_OUTBOX = "outbox/"
_DROPPED = "/dropped"
_ASIDE = "/aside"
_SENT_AGAIN = "/sent-again"
_RECEIVED = "sync/"


class Survey(NamedTuple):
    topics: tuple[TopicPlan, ...]
    positions: Mapping[str, Position]


def reader_of(site: str, role: str, topic: str) -> str | None:
    """The group that reads a topic from its start when it has committed nothing yet: the
    sync's for the lanes that go up, a node's own, named after its topic, for those of chains."""
    if topic in {site_topic(site, lane) for lane in UP}:
        return f"{site}.{'intake' if role == 'cloud' else 'sync'}"
    return None if topic in {site_topic(site, name) for name in catalogue()["topics"]} else topic


class Surveyor:
    """``stored``: every position of the site by stream. ``partitions``: how many a topic of
    the target has."""

    def __init__(
        self,
        *,
        settings: Settings,
        log: SqliteLog,
        positions: PositionStore,
        stored: Mapping[str, Position],
        partitions: Callable[[str], int],
        clock: Clock,
    ) -> None:
        self._site = settings.site
        self._role = settings.role
        self._log = log
        self._stored = stored
        self._partitions = partitions
        self._received = Received(site=settings.site, reader=log, positions=positions, clock=clock)
        self._intake = Intake(
            site=settings.site,
            tenant_id=settings.tenant_id,
            reader=log,
            positions=positions,
            clock=clock,
        )

    async def survey(self) -> Survey:
        """Raises LogUnavailable, StoreUnavailable, Stop."""
        names = sorted(await self._log.partitions())
        topics = [await self._topic(name) for name in names]
        return Survey(tuple(topics), await self._positions({topic.name: topic for topic in topics}))

    async def _topic(self, name: str) -> TopicPlan:
        ends = await self._log.ends(name)
        committed = self._log.groups_of(name)
        reader = reader_of(self._site, self._role, name)
        readers = {reader: {}, **committed} if reader else dict(committed)
        if reader and self._role == "edge" and name in self._lanes():
            readers[reader] = {0: await self._unacknowledged(name, ends[0])}
        going_on = {
            group: {at: max(one.start, offsets.get(at, 0)) for at, one in ends.items()}
            for group, offsets in readers.items()
        }
        spans = {
            at: (min((offsets[at] for offsets in going_on.values()), default=one.start), one.end)
            for at, one in ends.items()
        }
        return TopicPlan(name, spans, going_on, committed)

    def _lanes(self) -> dict[str, str]:
        """Topic -> lane, of those that go up."""
        return {site_topic(self._site, lane): lane for lane in UP}

    async def _facts(self, topic: str, ends: PartitionEnds) -> LogFacts:
        return LogFacts(ends.start, ends.end, await self._log.topic_id(topic))

    async def _unacknowledged(self, topic: str, ends: PartitionEnds) -> int:
        stored = self._stored.get(f"{_OUTBOX}{self._lanes()[topic]}")
        before = await self._record(topic, stored.offset - 1, ends) if stored else None
        return acknowledged(stored, await self._facts(topic, ends), before)

    async def _record(self, topic: str, offset: int, ends: PartitionEnds) -> Record | None:
        if not ends.start <= offset < ends.end:
            return None
        records = await self._log.read(topic, 0, offset, 1, _READ_WAIT_MS)
        return records[0] if records else None

    async def _positions(self, topics: Mapping[str, TopicPlan]) -> dict[str, Position]:
        moved: dict[str, Position] = {}
        for stream, position in self._stored.items():
            if stream.startswith(_OUTBOX) and stream.endswith(_ASIDE):
                continue  # offsets of the old log
            if stream.startswith(_OUTBOX) and not stream.endswith(_SENT_AGAIN):
                moved[stream] = await self._sender(stream, position)
            elif stream.startswith(_RECEIVED) and stream.count("/") == 2:
                _, edge_id, lane = stream.split("/")
                moved[stream] = await moved_receiver(stream, edge_id, lane, self._received)
            elif not stream.startswith("intake/"):
                moved[stream] = position
        if self._role == "cloud":
            for name in self._lanes().keys() & topics.keys():
                moved |= await self._taken(topics[name])
        return moved

    async def _sender(self, stream: str, position: Position) -> Position:
        lane = stream.removesuffix(_DROPPED)
        topic = site_topic(self._site, lane.removeprefix(_OUTBOX))
        facts = await self._facts(topic, (await self._log.ends(topic))[0])
        if stream == lane:
            return moved_sender(position, facts)
        return moved_ledger(position, self._stored.get(lane), facts)

    async def _taken(self, topic: TopicPlan) -> dict[str, Position]:
        if len(topic.spans) > 1 and topic.records:
            raise Stop(
                f"{topic.records} received events stand in {topic.name} and are not in the chain "
                "yet: run the site until `edgeferry lag` shows 0 for its intake, stop it, and "
                "move it then"
            )
        seen = [
            await self._intake.seen(TopicPartition(topic.name, at), begin)
            for at, (begin, _) in topic.spans.items()
        ]
        return moved_intake(seen, topic.name, self._partitions(topic.name))
