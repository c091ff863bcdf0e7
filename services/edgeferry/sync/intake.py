"""Takes received events into the site, each once: to the root chain, or to the owner of
changes. The Cloud's intake takes those of its edges, an Edge's apply those of its Cloud.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later, LogUnavailable, Never, OffsetOutOfRange, Undecodable
from edgeferry.core.record import LogReader, Record
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.topics import site_topic
from edgeferry.streams.processor import Dead, Outputs, TopicPartition
from edgeferry.sync.filter import EventFilter, Seen
from edgeferry.sync.lanes import DOWN, UP
from edgeferry.sync.messages import RuleMessages, Taken
from edgeferry.sync.received_changes import Source
from edgeferry.sync.recovery import names_origin, origin_of
from edgeferry.sync.rights import EdgeRights

_CHECKPOINT_SECONDS = 5.0
_SCAN_BYTES = 1_000_000
_SCAN_WAIT_MS = 5000
_NO_ORIGIN = "its headers edge, epoch and offset are none that the link has written"

log = logging.getLogger(__name__)


class Intake:
    """A ``streams.processor.Processor`` over both received topics.

    Its memory, the last (epoch, offset) of each edge in each partition, is kept in the
    position store every few seconds and completed from the headers in the log.
    """

    def __init__(
        self,
        *,
        site: str,
        tenant_id: str,
        reader: LogReader,
        positions: PositionStore,
        clock: Clock,
        source: Source = "edge",
        rights: EdgeRights | None = None,
    ) -> None:
        """``source``: the side that the events come from. ``rights``: of the edges; an Edge
        believes its Cloud."""
        self._site = site
        self._reader = reader
        self._positions = positions
        self._clock = clock
        self._rights = rights
        self._messages = RuleMessages(site=site, tenant_id=tenant_id, source=source)
        lanes, self._node = (UP, "intake") if source == "edge" else (DOWN, "apply")
        self._topics = tuple(site_topic(site, lane) for lane in lanes)
        self._filters: dict[TopicPartition, EventFilter] = {}
        self._unsaved: set[TopicPartition] = set()
        self._saved_at = clock.monotonic()
        self.repeats = 0

    @property
    def name(self) -> str:
        return f"{self._site}.{self._node}"

    @property
    def chain(self) -> str:
        return ""

    @property
    def node(self) -> str:
        return self._node

    @property
    def topics(self) -> tuple[str, ...]:
        return self._topics

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        """See ``Processor``. A record without an edge's headers (a replayed dead letter)
        always passes; one that has them and none of the link's values is dead."""
        taken: list[tuple[Record, str, Taken]] = []
        for (topic, partition), of_partition in groupby(
            records, key=attrgetter("topic", "partition")
        ):
            passed = self._filters[TopicPartition(topic, partition)]
            for number, record in enumerate(of_partition):
                if not number:
                    passed.rewind(record.offset)
                self._take(record, passed, taken, outputs)
        if self._rights is None:
            outputs.records += [out for _, _, one in taken for out in one.records]
        else:
            await self._take_rightful(self._rights, taken, outputs)

    def _take(
        self,
        record: Record,
        passed: EventFilter,
        taken: list[tuple[Record, str, Taken]],
        outputs: Outputs,
    ) -> None:
        origin = origin_of(record.headers)
        if origin is None and names_origin(record.headers):
            outputs.dead.append(Dead(record, Undecodable(_NO_ORIGIN)))
            return
        if origin is not None and not passed.passes(record.offset, origin):
            self.repeats += 1
            return
        edge_id = origin.edge if origin is not None else b""
        try:
            taken.append((record, edge_id.decode(), self._messages.of(record, edge_id)))
        except Never as error:
            outputs.dead.append(Dead(record, error, edge_id))

    async def _take_rightful(
        self, rights: EdgeRights, taken: Sequence[tuple[Record, str, Taken]], outputs: Outputs
    ) -> None:
        wishes = [(edge_id, one.head) for _, edge_id, one in taken if edge_id]
        outputs.records += await rights.look(wishes, self._clock.now_ms())
        for record, edge_id, one in taken:
            try:
                if edge_id:
                    rights.check(edge_id, one.head)
            except Never as error:
                outputs.dead.append(Dead(record, error, edge_id.encode()))
            else:
                outputs.records += one.records

    async def delivered(self, records: Sequence[Record]) -> None:
        last = {TopicPartition(record.topic, record.partition): record for record in records}
        for at, record in last.items():
            self._filters[at].delivered(record.offset)
        self._unsaved |= last.keys()
        if self._clock.monotonic() - self._saved_at >= _CHECKPOINT_SECONDS:
            await self._save()

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        """Raises LogUnavailable, StoreUnavailable."""
        self._unsaved.clear()
        self._filters = {at: await self._rebuilt(at, offset) for at, offset in committed.items()}

    async def seen(self, at: TopicPartition, committed: int) -> Mapping[bytes, tuple[int, int]]:
        """The last (epoch, offset) that was taken of each edge in a partition of which
        everything below ``committed`` is read. Raises LogUnavailable, StoreUnavailable."""
        return (await self._rebuilt(at, committed)).seen

    async def _rebuilt(self, at: TopicPartition, committed: int) -> EventFilter:
        stored = await self._positions.load(intake_stream(*at))
        seen: Seen = {}
        offset = 0
        if stored is not None:
            offset = stored.offset
            seen = {
                edge.encode(): (epoch, number)
                for edge, (epoch, number) in json.loads(stored.detail).items()
            }
        rebuilt = EventFilter(seen, offset)
        if offset < committed:
            await self._scan(at, rebuilt, committed)
        return rebuilt

    async def _scan(self, at: TopicPartition, rebuilt: EventFilter, committed: int) -> None:
        """What was delivered after the checkpoint, up to where reading begins."""
        ends = (await self._reader.ends(at.topic))[at.partition]
        offset = max(rebuilt.next_offset, ends.start)
        upto = min(committed, ends.end)
        while offset < upto:
            try:
                records = await self._reader.read(
                    at.topic, at.partition, offset, _SCAN_BYTES, _SCAN_WAIT_MS
                )
            except OffsetOutOfRange:  # trimmed meanwhile
                offset = (await self._reader.ends(at.topic))[at.partition].start
                continue
            if not records:
                raise LogUnavailable(f"{at.topic}-{at.partition} gives no record at {offset}")
            for record in records:
                if record.offset < upto and (origin := origin_of(record.headers)) is not None:
                    rebuilt.passes(record.offset, origin)
            offset = records[-1].offset + 1
        rebuilt.delivered(upto - 1)

    async def _save(self) -> None:
        self._saved_at = self._clock.monotonic()
        saving, self._unsaved = self._unsaved, set()
        try:
            await asyncio.gather(*(self._save_one(at) for at in saving))
        except Later as error:
            self._unsaved |= saving
            log.warning("the intake's memory is kept later: %s", error)

    async def _save_one(self, at: TopicPartition) -> None:
        kept = self._filters[at]
        position = intake_position(kept.next_offset, kept.seen)
        await self._positions.save(intake_stream(*at), position)


def intake_stream(topic: str, partition: int) -> str:
    """The name under which the position store keeps the memory of a partition."""
    return f"intake/{topic}/{partition}"


def intake_position(next_offset: int, seen: Mapping[bytes, tuple[int, int]]) -> Position:
    """``seen``: the last (epoch, offset) of each edge below ``next_offset``."""
    return Position(
        0, next_offset, "", json.dumps({edge.decode(): last for edge, last in seen.items()})
    )
