"""The Faust transport on the SQLite log: no broker, no connection, one process.

URL scheme ``edgeferry-sqlite://<name>``: the name finds the log of this process. There is
no group protocol: every partition is this process's, assigned once.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from faust.transport import base, drivers
from faust.transport import consumer as faust_consumer
from faust.types import TP, ConsumerMessage

from edgeferry.core.errors import Later, OffsetOutOfRange
from edgeferry.core.record import Record
from edgeferry.log.sqlite import SqliteLog
from edgeferry.streams.delivery import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, BatchDelivery
from edgeferry.streams.producer import NoProducer

SCHEME = "edgeferry-sqlite"

IDLE_SECONDS = 30.0
"""The log says when there is something to read; nobody has to look more often than this."""

_COMMIT_SECONDS = 10.0
_RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)

_logs: "WeakValueDictionary[str, SqliteLog]" = WeakValueDictionary()
"""Faust makes its transports of URLs alone."""


class SqliteTransport:
    """``streams.transport.LogTransport`` on the SQLite log."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._name = f"log{id(log):x}"
        self.url = f"{SCHEME}://{self._name}"

    def register(self) -> None:
        """See ``LogTransport.register``."""
        drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
        _logs[self._name] = self._log

    def app_settings(self, group: str) -> Mapping[str, Any]:
        """See ``LogTransport.app_settings``."""
        # a batch's offsets are committed with its outputs: little is left for Faust's timer
        return {"broker_commit_interval": _COMMIT_SECONDS}


class Consumer(BatchDelivery, faust_consumer.Consumer):  # type: ignore[misc]
    """Reads the log for one App."""

    logger = logging.getLogger("faust")  # for what Faust says of it, such as that it starts

    fetch_seconds = IDLE_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log: SqliteLog = self.transport.log
        self._group: str = self.app.conf.id
        self._news = asyncio.Event()
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._turns: deque[TP] = deque()
        self._failing = ""

    async def subscribe(self, topics: Iterable[str]) -> None:
        # in a task: App._on_partitions_assigned waits for this call to return
        self.add_future(self._assign(frozenset(topics)))

    async def _assign(self, topics: frozenset[str]) -> None:
        assigned = await self._partitions(topics)
        if assigned == self._assigned:
            return
        self.app.on_rebalance_start()
        if self._assigned:
            await self.on_partitions_revoked(set(self._assigned))
        self._log.listen(sorted(topics), self._news)
        self._assigned = assigned
        self._turns = deque(sorted(assigned))
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(set(assigned), self.app.consumer_generation_id)

    async def _partitions(self, topics: frozenset[str]) -> set[TP]:
        """Of topics that exist; waits for those that do not, as a Kafka consumer does."""
        while True:
            try:
                counts = await self._log.topics.partitions()
            except Later as error:
                self._fails(error)
            else:
                missing = sorted(topics - counts.keys())
                if not missing:
                    self._failing = ""
                    return {TP(topic, part) for topic in topics for part in range(counts[topic])}
                self._fails(f"there is no topic {', '.join(missing)}: run `edgeferry topics apply`")
            await self.sleep(_RETRY_SECONDS)

    async def _getmany(
        self, active_partitions: set[TP] | None, timeout: float
    ) -> Mapping[TP, list[Record]]:
        self._news.clear()  # before the look: what comes after it sets it again
        try:
            found = await self._fetch(active_partitions or set())
        except Later as error:
            self._fails(error)
            await self.sleep(_RETRY_SECONDS)
            return {}
        self._failing = ""
        # not before all is read: what was read when another partition failed is read again
        for tp, records in found.items():
            self._positions[tp] = records[-1].offset + 1
        if not found:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), timeout)
        return found

    async def _fetch(self, active: set[TP]) -> Mapping[TP, list[Record]]:
        """A batch over the partitions, taking turns in who comes first."""
        found: dict[TP, list[Record]] = {}
        count, size = MAX_BATCH_RECORDS, MAX_BATCH_BYTES
        self._turns.rotate(-1)
        for tp in list(self._turns):
            if tp not in active or count <= 0 or size <= 0:
                continue
            position, end = self._positions[tp], self._log.bounds(*tp).end
            if position > end:
                await self.perform_seek()
                return {}
            if position == end:
                continue
            try:
                records = self._log.fetch(*tp, position, count, size)
            except OffsetOutOfRange:
                # Trimmed under us for a cap: go on at what is left.
                self._positions[tp] = start = self._log.bounds(*tp).start
                self.read_past(tp, position, start)
                self._news.set()
                continue
            if records:
                found[tp] = list(records)
                count -= len(records)
                size -= sum(len(record.value or b"") for record in records)
        return found

    def _fails(self, problem: Exception | str) -> None:
        if not self._failing:
            log.warning("%s: reading is tried again: %s", self._group, problem)
        self._failing = str(problem)

    async def perform_seek(self) -> None:
        """To the committed offsets, where the log still has them.

        Above the log's end: the topic was made anew, so all of it is read. Below its start:
        what stood between is lost, which is said, never passed over."""
        committed = self._log.group_offsets(self._group)
        for tp in self._assigned:
            start, end = self._log.bounds(*tp)
            offset = committed.get(tp, start)
            if offset > end:
                self.read_anew(tp, offset, end)
                # or every batch of it would pass for done already
                await self._log.commit(self._group, tp.topic, {tp.partition: start})
                offset = start
            self.read_past(tp, offset, start)
            self._place(tp, max(offset, start))
            self._committed_offset[tp] = self._positions[tp]

    def _place(self, tp: TP, offset: int) -> None:
        self._positions[tp] = self._read_offset[tp] = offset
        self._news.set()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        await self.perform_seek()
        return dict(self._positions)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._place(partition, offset)

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Only what is above: the rest became durable together with the outputs."""
        committed = self._log.group_offsets(self._group)
        above = {tp: at for tp, at in offsets.items() if at > committed.get(tp, 0)}
        try:
            for tp, offset in above.items():
                await self._log.commit(self._group, tp.topic, {tp.partition: offset})
        except Later as error:
            log.warning("committing for %s failed, will be tried again: %s", self._group, error)
            return False
        return True

    async def on_stop(self) -> None:
        await super().on_stop()
        self._log.unlisten(self._news)

    def answered_since(self, since_ms: int) -> bool:
        """A file answers, or a call to it has just failed."""
        return not self._failing

    def lag(self) -> int | None:
        """Records that are not done; None while the log does not tell."""
        self._collect_done()
        try:
            ends = {tp: self._log.bounds(*tp).end for tp in self._assigned}
        except Later:
            return None
        return sum(max(end - self.done_offset(tp), 0) for tp, end in ends.items())

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    def assignment(self) -> set[TP]:
        return set(self._assigned)

    def highwater(self, tp: TP) -> int:
        return self._log.bounds(*tp).end

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._log.bounds(*tp).end for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._log.bounds(*tp).start for tp in partitions}

    def topic_partitions(self, topic: str) -> int | None:
        return sum(tp.topic == topic for tp in self._assigned) or None

    def key_partition(
        self, topic: str, key: bytes | None, partition: int | None = None
    ) -> int | None:
        return partition

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: topics are made by `edgeferry topics apply`."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise NotImplementedError("records are delivered as batches")


class Transport(base.Transport):
    Consumer = Consumer
    Producer = NoProducer
    driver_version = "edgeferry"
    max_batch_records = MAX_BATCH_RECORDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.log = _logs[str(self.url[0].host)]
