"""The Faust transport on Kafka: aiokafka in the App's own loop, one message per fetch.

URL scheme ``edgeferry-kafka://host:port``. Topics keep one record per message.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError
from faust.transport import drivers
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.futures import maybe_async

from edgeferry.log.kafka_commit import commit
from edgeferry.log.kafka_headers import read_any_headers
from edgeferry.streams.delivery import MAX_BATCH_BYTES, MAX_BATCH_RECORDS, BatchDelivery
from edgeferry.streams.producer import NoProducer

SCHEME = "edgeferry-kafka"
SESSION_SECONDS = 20.0
_COMMIT_SECONDS = 1.0

_RETRY_MS = 500
"""While no broker answers. (aiokafka's 100 ms are hundreds of connections a second from a
site's Apps.)"""

FETCH_IDLE = (1, 500)
FETCH_BUSY = (65_536, 4)
"""(bytes, milliseconds): the broker holds a fetch until it has one or the other. Idle,
the first record comes at once; busy, the number of fetches a second is capped."""

BUSY_RECORDS_PER_SECOND = 50.0
_RATE_WINDOW_SECONDS = 0.2

log = logging.getLogger(__name__)


class KafkaTransport:
    """``streams.transport.LogTransport`` on Kafka.

    bootstrap: host:port. slot: names this process among its replicas, the same after a
    restart, so that a killed one gets its partitions back at once (static membership; its
    partitions wait for it for SESSION_SECONDS). None: an ordinary member, whose partitions
    pass on when it stops."""

    def __init__(self, bootstrap: str, slot: str | None) -> None:
        self.url = f"{SCHEME}://{bootstrap}"
        self._slot = slot

    def register(self) -> None:
        """See ``LogTransport.register``."""
        read_any_headers()
        drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"

    def app_settings(self, group: str) -> Mapping[str, Any]:
        """See ``LogTransport.app_settings``."""
        return {
            "broker_check_crcs": False,
            "broker_commit_interval": _COMMIT_SECONDS,
            "broker_session_timeout": SESSION_SECONDS,
            "broker_heartbeat_interval": SESSION_SECONDS / 5,
            "broker_request_timeout": 40.0,
            "broker_max_poll_interval": 3600.0,
            "consumer_auto_offset_reset": "earliest",
            "consumer_group_instance_id": self._slot and f"{group}.{self._slot}",
        }


class InLoopConsumerThread(driver.AIOKafkaConsumerThread):
    """Not a thread: runs the aiokafka consumer in the loop of the App."""

    logger = logging.getLogger("mode.consumer")
    """Its starts and stops are those of the library."""

    def __init__(self, consumer: Any, *, loop: Any = None, **kwargs: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)

    async def start(self) -> None:
        self._thread_started.set()
        await self._default_start()

    async def stop(self) -> None:
        if self._started.is_set() and not self._stopped.is_set():
            self._stopped.set()
            if self._consumer is not None:
                await self._consumer.stop()
            self._shutdown.set()
            await self._default_stop_children()
            await self._default_stop_futures()
            await self._default_stop_exit_stacks()

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        return await maybe_async(fun(*args, **kwargs))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.consumer.on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.consumer.on_partitions_assigned(assigned, generation_id)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # stock Faust hard-codes 1,500 ms
        consumer._fetch_min_bytes, consumer._fetch_max_wait_ms = FETCH_IDLE
        consumer._fetch_max_bytes = MAX_BATCH_BYTES
        # nor does it let one choose these: read when the consumer starts, and at each retry
        consumer._retry_backoff_ms = _RETRY_MS
        consumer._client._retry_backoff = _RETRY_MS / 1000
        return consumer

    async def _commit(self, offsets: Any) -> bool:
        # stock Faust crashes the App when the broker is away
        consumer = self._ensure_consumer()
        assigned = self.assignment()
        wanted = {
            aiokafka.TopicPartition(tp.topic, tp.partition): offset
            for tp, offset in offsets.items()
            if tp in assigned
        }
        try:
            await commit(consumer, wanted)
        except KafkaError as error:
            log.warning(
                "committing for %s failed, will be tried again: %r", self.app.conf.id, error
            )
            return False
        return True


class Consumer(BatchDelivery, driver.Consumer):  # type: ignore[misc]
    """The consumer group member of one App."""

    logger = logging.getLogger("faust")  # for what Faust says of it, such as that it starts

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window_start = asyncio.get_running_loop().time()
        self._window_records = 0

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return InLoopConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def after_fetch(self, count: int) -> None:
        self._window_records += count
        now = asyncio.get_running_loop().time()
        elapsed = now - self._window_start
        if elapsed < _RATE_WINDOW_SECONDS:
            return
        busy = self._window_records / elapsed > BUSY_RECORDS_PER_SECOND
        self._window_start, self._window_records = now, 0
        # read by aiokafka at each request
        fetcher = self._thread._ensure_consumer()._fetcher
        fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms = FETCH_BUSY if busy else FETCH_IDLE

    async def perform_seek(self) -> None:
        """To the committed offsets, where the log still has them.

        Above the log's end: it was truncated or made anew, so all of it is read. Below its
        start: what stood between is lost, which is said, never passed over."""
        await super().perform_seek()
        committed = {
            aiokafka.TopicPartition(tp.topic, tp.partition): offset
            for tp in self.assignment()
            if (offset := self._committed_offset[tp])
        }
        if not committed:
            return
        consumer = self._thread._ensure_consumer()
        try:
            starts = await consumer.beginning_offsets(list(committed))
            ends = await consumer.end_offsets(list(committed))
        except KafkaError as error:
            log.warning("%s: the log's bounds are not known: %r", self.app.conf.id, error)
            return
        for at, offset in committed.items():
            tp = TP(at.topic, at.partition)
            if offset > ends[at]:
                self.read_anew(tp, offset, ends[at])
                consumer.seek(at, starts[at])
                self._read_offset[tp] = starts[at]
                self._committed_offset[tp] = None
            else:
                self.read_past(tp, offset, starts[at])

    def answered_since(self, since_ms: int) -> bool:
        """The broker answered a fetch after ``since_ms``, or there is nothing to fetch."""
        consumer = self._thread._ensure_consumer()
        answers = [
            consumer.last_poll_timestamp(aiokafka.TopicPartition(tp.topic, tp.partition))
            for tp in self.assignment()
        ]
        return not answers or any(answer and answer > since_ms for answer in answers)

    def lag(self) -> int | None:
        """Records below the high water that are not done; None before the first fetch."""
        self._collect_done()
        consumer = self._thread._ensure_consumer()
        total = 0
        for tp in self.assignment():
            highwater = consumer.highwater(aiokafka.TopicPartition(tp.topic, tp.partition))
            if highwater is None:
                return None
            total += max(highwater - self.done_offset(tp), 0)
        return total


class Transport(driver.Transport):
    Consumer = Consumer
    Producer = NoProducer
    max_batch_records = MAX_BATCH_RECORDS
