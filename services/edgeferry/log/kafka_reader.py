"""Reads a Kafka partition by offset, without joining a group (sync, tools)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import aiokafka
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from edgeferry.core.errors import LogUnavailable, OffsetOutOfRange
from edgeferry.core.record import PartitionEnds, Record, clean_headers
from edgeferry.log.kafka_commit import commit
from edgeferry.log.kafka_headers import read_any_headers

_OPEN_CONSUMERS = 32
_METADATA_TIMEOUT_MS = 10_000


@dataclass(slots=True, eq=False)
class _Cursor:
    """A consumer of one partition. ``position``: of its next record, those that were fetched
    and not taken yet (``left``) first."""

    tp: TopicPartition
    consumer: aiokafka.AIOKafkaConsumer
    position: int | None = None
    left: list[aiokafka.ConsumerRecord] = field(default_factory=list)
    busy: bool = True


class KafkaReader:
    """``core.record.LogReader`` on Kafka. A consumer per read that is under way, kept for the
    next read of its partition, the least recently used closed above a bound; positions are
    asked for by the caller.
    """

    def __init__(self, bootstrap: str) -> None:
        read_any_headers()
        self._bootstrap = bootstrap
        self._open: list[_Cursor] = []  # the least recently used first
        self._committing = asyncio.Lock()
        self._metadata: aiokafka.AIOKafkaConsumer | None = None
        self._groups: dict[str, aiokafka.AIOKafkaConsumer] = {}
        self._opening = asyncio.Lock()  # or two callers would open the same, and lose one

    @property
    def name(self) -> str:
        return "log-reader"

    async def start(self) -> None:
        """Nothing to wait for: connections are made by the first read."""

    async def stop(self) -> None:
        for cursor in list(self._open):
            await self._close(cursor)
        for consumer in (*self._groups.values(), self._metadata):
            if consumer is not None:
                with contextlib.suppress(KafkaError, OSError):
                    await consumer.stop()
        self._groups.clear()
        self._metadata = None

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        """See ``LogReader.ends``."""
        async with _errors(self._bootstrap):
            async with self._opening:
                if self._metadata is None:
                    self._metadata = await self._started(None)
            consumer = self._metadata
            partitions = await consumer._client._wait_on_metadata(topic)
            tps = [TopicPartition(topic, partition) for partition in partitions]
            starts = await consumer.beginning_offsets(tps)
            ends = await consumer.end_offsets(tps)
        return {tp.partition: PartitionEnds(starts[tp], ends[tp]) for tp in tps}

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        """See ``LogReader.read``. The first record comes also when it is larger alone."""
        tp = TopicPartition(topic, partition)
        async with _errors(self._bootstrap):
            cursor = await self._cursor(tp, offset)
        try:
            async with _errors(self._bootstrap):
                rows = cursor.left
                if cursor.position != offset:
                    rows = []
                    cursor.consumer.seek(tp, offset)
                if not rows:
                    rows = (await cursor.consumer.getmany(tp, timeout_ms=wait_ms)).get(tp, [])
        except asyncio.CancelledError:
            cursor.position, cursor.busy = None, False
            raise
        except BaseException:
            await self._close(cursor)
            raise
        count, size = 0, 0
        for row in rows:
            size += len(row.value or b"") + len(row.key or b"")
            if count and size > max_bytes:
                break
            count += 1
        cursor.left = rows[count:]
        cursor.position = rows[count - 1].offset + 1 if count else offset
        cursor.busy = False
        return [_record(row) for row in rows[:count]]

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """Committed offsets of ``group``, partitions without one left out.

        Raises LogUnavailable."""
        async with _errors(self._bootstrap):
            consumer = await self._group_consumer(group)
            partitions = await consumer._client._wait_on_metadata(topic)
            found: dict[int, int] = {}
            for partition in partitions:
                offset = await consumer.committed(TopicPartition(topic, partition))
                if offset is not None:
                    found[partition] = offset
        return found

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit for a group that nobody joins. Raises LogUnavailable."""
        # one at a time: what is assigned must still be when it is committed
        async with _errors(self._bootstrap), self._committing:
            consumer = await self._group_consumer(group)
            tps = [TopicPartition(topic, partition) for partition in offsets]
            consumer.assign(tps)  # aiokafka commits for nothing else
            consumer.pause(*tps)  # and would fetch it
            await commit(
                consumer,
                {
                    TopicPartition(topic, partition): OffsetAndMetadata(offset, "")
                    for partition, offset in offsets.items()
                },
            )

    async def _cursor(self, tp: TopicPartition, offset: int) -> _Cursor:
        """One that nobody else uses until it is no longer busy."""
        async with self._opening:
            idle = [cursor for cursor in self._open if not cursor.busy]
            of_partition = [cursor for cursor in idle if cursor.tp == tp]
            if of_partition:
                found = max(of_partition, key=lambda cursor: cursor.position == offset)
                found.busy = True
                self._open.remove(found)
            else:
                if idle and len(self._open) >= _OPEN_CONSUMERS:
                    await self._close(idle[0])
                found = _Cursor(tp, await self._started(None))
                found.consumer.assign([tp])
            self._open.append(found)
            return found

    async def _group_consumer(self, group: str) -> aiokafka.AIOKafkaConsumer:
        async with self._opening:
            if group not in self._groups:
                self._groups[group] = await self._started(group)
            return self._groups[group]

    async def _started(self, group: str | None) -> aiokafka.AIOKafkaConsumer:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=500,
            fetch_min_bytes=1,
            request_timeout_ms=_METADATA_TIMEOUT_MS,
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        return consumer

    async def _close(self, cursor: _Cursor) -> None:
        if cursor in self._open:  # not when ``stop`` was faster
            self._open.remove(cursor)
        with contextlib.suppress(KafkaError, OSError):
            await cursor.consumer.stop()


def _record(row: aiokafka.ConsumerRecord) -> Record:
    headers = clean_headers(row.headers)
    return Record(row.topic, row.partition, row.offset, row.timestamp, row.key, row.value, headers)


@contextlib.asynccontextmanager
async def _errors(bootstrap: str) -> AsyncIterator[None]:
    try:
        yield
    except OffsetOutOfRangeError as error:
        raise OffsetOutOfRange(
            f"the log no longer holds this offset: {error}; what was there is lost"
        ) from error
    except UnknownTopicOrPartitionError as error:
        raise LogUnavailable(
            f"Kafka at {bootstrap} has no such topic: run `edgeferry topics apply`"
        ) from error
    except (KafkaError, OSError, TimeoutError) as error:
        raise LogUnavailable(f"Kafka at {bootstrap}: {error!r}") from error
