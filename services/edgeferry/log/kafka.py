"""The log port on Kafka: grouped, idempotent appends; reads by offset.

aiokafka's builders and idempotent sender are used directly: one future per partition
and batch, headers at no extra cost, no thread. A batch is never given up while the
broker is away (the idempotent sender does not expire it), so an append just takes as
long as the outage; whatever failed all the same ends this producer, and the caller
repeats the append with the next one.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
)

from edgeferry.core.clock import Clock
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log.keys import KeyHashes
from edgeferry.log.limits import (
    MAX_RECORD_BYTES,
    is_dead_letters,
    refused_by_broker,
    too_large,
    whole_size,
)

_BATCH_BYTES = 1_000_000
_LEAST_BATCH_BYTES = 16_384
_GROUP_BYTES = 8_000_000
_RECORD_OVERHEAD = 64
_RETRY_SECONDS = 0.5
_REQUEST_TIMEOUT_MS = 30_000

log = logging.getLogger(__name__)


class _UnknownTopic(Exception):
    """Only its own caller has to wait for it."""


class _Append(NamedTuple):
    records: Sequence[Outgoing]
    size: int
    done: "asyncio.Future[None]"


class KafkaWriter:
    """Appends to Kafka (``core.record.LogWriter``).

    Appends of all callers that wait while a group is under way form the next group;
    one group is under way at a time, so appends keep their order per partition.
    """

    def __init__(
        self, bootstrap: str, clock: Clock, *, max_record_bytes: int = MAX_RECORD_BYTES
    ) -> None:
        self._bootstrap = bootstrap
        self._clock = clock
        self._max_record_bytes = max_record_bytes
        self._batch_bytes = _BATCH_BYTES
        self._hash = KeyHashes()
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._partitions: dict[str, int] = {}
        self._waiting: deque[_Append] = deque()
        self._flusher: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def name(self) -> str:
        return "log-writer"

    @property
    def max_record_bytes(self) -> int:
        return self._max_record_bytes

    async def start(self) -> None:
        """Nothing to wait for: the connection is made by the first append."""

    async def stop(self) -> None:
        """Deliver what waits, then close. Appends that come later are refused."""
        self._closing = True
        if self._flusher is not None:
            await asyncio.wait([self._flusher], timeout=10)
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        self._refuse(LogUnavailable("the log is closing"))
        await self._drop_producer()

    async def append(self, records: Sequence[Outgoing]) -> None:
        """See ``LogWriter.append``."""
        if not records:
            return
        limit = self._max_record_bytes
        total = 0
        for record in records:
            size = len(record.value)
            total += size
            if size > limit and not is_dead_letters(record.topic):
                raise too_large(record, size, limit)
        if self._closing:
            raise LogUnavailable("the log is closing")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Append(records, total, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name="log-writer")
        await done

    async def _flush(self) -> None:
        while self._waiting:
            group, size = [self._waiting.popleft()], 0
            while self._waiting and size < _GROUP_BYTES:
                group.append(self._waiting.popleft())
                size += group[-1].size
            await self._settle(group)

    async def _settle(self, group: Sequence[_Append]) -> None:
        try:
            if len(group) > 1:
                await self._send([record for entry in group for record in entry.records])
            else:
                await self._send_apart(group[0].records)
        except (MessageSizeTooLargeError, _UnknownTopic) as error:
            if isinstance(error, MessageSizeTooLargeError):
                await self._drop_producer()  # the refused batch left a hole in its sequence
            if len(group) > 1:  # one of them is to blame: each for itself
                for entry in group:
                    await self._settle([entry])
            else:
                _resolve(group, LogUnavailable(f"Kafka at {self._bootstrap}: {error}"))
        except RecordTooLarge as error:
            _resolve(group, error)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("appending to Kafka at %s failed: %r", self._bootstrap, error)
            _resolve(group, LogUnavailable(f"Kafka at {self._bootstrap}: {error!r}"))
            await self._drop_producer()
        except asyncio.CancelledError:
            _resolve(group, LogUnavailable("the log is closing"))
            raise
        except Exception as error:  # a bug: each caller gets it as it is
            _resolve(group, error)
        else:
            _resolve(group, None)

    async def _send_apart(self, records: Sequence[Outgoing]) -> None:
        """In parts where the topic's limit is below our batches; in order.

        Raises RecordTooLarge for the first record that is refused alone; those before it
        are appended, those after it may be."""
        try:
            await self._send(records)
        except MessageSizeTooLargeError as error:
            await self._drop_producer()  # the refused batch left a hole in its sequence
            if len(records) == 1:
                raise refused_by_broker(records[0]) from error
            middle = len(records) // 2
            await self._send_apart(records[:middle])
            await self._send_apart(records[middle:])
            refused = sum(map(whole_size, records))
            self._batch_bytes = max(_LEAST_BATCH_BYTES, min(self._batch_bytes, refused // 2))

    async def _send(self, records: Sequence[Outgoing]) -> None:
        producer = await self._connected()
        now_ms = self._clock.now_ms()
        hash_of, partitions = self._hash, self._partitions
        builders: dict[tuple[str, int], Any] = {}
        full: list[tuple[str, int, Any]] = []
        for topic, key, value, given in records:
            headers = given if type(given) is list else list(given)
            count = partitions.get(topic)
            if count is None:
                count = await self._count_partitions(producer, topic)
            at = (topic, hash_of(key) % count if key is not None else now_ms % count)
            builder = builders.get(at)
            if builder is None:
                builder = builders[at] = producer.create_batch()
            if builder.append(key=key, value=value, timestamp=now_ms, headers=headers) is None:
                full.append((*at, builder))
                builder = builders[at] = producer.create_batch()
                if builder.append(key=key, value=value, timestamp=now_ms, headers=headers) is None:
                    raise MessageSizeTooLargeError(f"a record for {topic} does not fit a batch")
        full += [(*at, builder) for at, builder in builders.items()]
        await self._deliver(producer, full)

    async def _deliver(
        self, producer: aiokafka.AIOKafkaProducer, batches: Sequence[tuple[str, int, Any]]
    ) -> None:
        sent: list[asyncio.Future[Any]] = []
        failed: list[BaseException] = []
        try:
            for topic, partition, builder in batches:
                sent.append(await _submit(producer, builder, topic, partition))
        except KafkaError as error:
            failed.append(error)
        # also when a submission failed: their errors must be seen by somebody
        results = await asyncio.gather(*sent, return_exceptions=True)
        failed += [result for result in results if isinstance(result, BaseException)]
        if failed:
            refused = (one for one in failed if isinstance(one, MessageSizeTooLargeError))
            raise next(refused, failed[0])

    async def _count_partitions(self, producer: aiokafka.AIOKafkaProducer, topic: str) -> int:
        # not producer.partitions_for(): it waits half a minute for a topic that is not there,
        # and every other append behind it
        client = producer.client
        await client.add_topic(topic)
        found = client.cluster.partitions_for_topic(topic)
        if not found:
            if not await client.force_metadata_update():
                raise KafkaConnectionError("no broker answers")
            found = client.cluster.partitions_for_topic(topic)
        if not found:
            raise _UnknownTopic(f"topic {topic} does not exist: run `edgeferry topics apply`")
        self._partitions[topic] = len(found)
        return len(found)

    async def _connected(self) -> aiokafka.AIOKafkaProducer:
        while self._producer is None:
            producer = aiokafka.AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                max_batch_size=self._batch_bytes,
                max_request_size=_BATCH_BYTES + _RECORD_OVERHEAD,
                request_timeout_ms=_REQUEST_TIMEOUT_MS,
            )
            try:
                await producer.start()
            except asyncio.CancelledError:
                await _close(producer)
                raise
            except (KafkaError, OSError) as error:
                await _close(producer)
                if self._closing:
                    raise
                log.warning("Kafka at %s does not answer: %r", self._bootstrap, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._producer = producer
        return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        self._partitions.clear()
        if producer is None:
            return
        # What failed here will be appended again by its caller, so nothing of it may be
        # delivered late: the sender goes first, its connections next.
        sender = producer._sender.sender_task
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender], timeout=5)  # or it opens a connection that nobody closes
        await producer.client.close()
        with contextlib.suppress(KafkaError, OSError, TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(producer.stop(), timeout=5)

    def _refuse(self, error: Exception) -> None:
        _resolve(self._waiting, error)
        self._waiting.clear()


async def _close(producer: aiokafka.AIOKafkaProducer) -> None:
    with contextlib.suppress(KafkaError, OSError):
        await producer.stop()


async def _submit(
    producer: aiokafka.AIOKafkaProducer, builder: Any, topic: str, partition: int
) -> "asyncio.Future[Any]":
    """Queue a batch; wait as long as the one before it for the same partition takes."""
    while True:
        try:
            found: asyncio.Future[Any] = await producer.send_batch(
                builder, topic, partition=partition
            )
        except KafkaTimeoutError:
            continue
        return found


def _resolve(group: Iterable[_Append], error: Exception | None) -> None:
    for entry in group:
        if entry.done.done():
            continue
        if error is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(error)
