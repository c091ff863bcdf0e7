"""Topics of Kafka: made, described, trimmed; lag of groups."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiokafka.errors
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.commit import OffsetFetchRequest
from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.core.record import PartitionEnds
from edgeferry.log.limits import MAX_DEAD_LETTER_BYTES, MAX_WHOLE_BYTES
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import TopicSettings

_TIMEOUT = 15.0
_CRITICAL = 2
"""Of syslog's levels."""
_POLL_SECONDS = 0.05
_COORDINATOR_SECONDS = 0.1
_COORDINATOR_MOVES = (
    aiokafka.errors.CoordinatorNotAvailableError,
    aiokafka.errors.CoordinatorLoadInProgressError,
    aiokafka.errors.NotCoordinatorError,
)


class KafkaTopics:
    """``log.port.Topics`` on Kafka. ``replication``: of the topics that it makes;
    ``timeout``: seconds that a request may take."""

    def __init__(self, bootstrap: str, replication: int = 1, timeout: float = _TIMEOUT) -> None:
        self._bootstrap = bootstrap
        self._replication = replication
        self._timeout = timeout
        self._client = AdminClient(
            {
                "bootstrap.servers": bootstrap,
                "socket.timeout.ms": int(self._timeout * 1000),
                # or, with Kafka away, it prints 20 lines a second past our logging; every
                # call tells its error anyway
                "log_level": _CRITICAL,
            }
        )

    async def ensure(self, topics: Sequence[TopicSettings]) -> list[str]:
        """See ``Topics.ensure``."""
        return await asyncio.to_thread(self._ensure, topics)

    def _ensure(self, topics: Sequence[TopicSettings]) -> list[str]:
        existing = self._describe()
        _check_partitions(topics, existing)
        missing = [topic for topic in topics if topic.name not in existing]
        if not missing:
            return []
        futures = self._client.create_topics(
            [
                NewTopic(topic.name, topic.partitions, self._replication, config=_config(topic))
                for topic in missing
            ],
            operation_timeout=self._timeout,
        )
        made = [name for name, future in futures.items() if self._made(future)]
        names = {topic.name for topic in missing}
        _check_partitions(missing, self._wait(lambda known: names <= known.keys()))
        return made

    def _made(self, future: Any) -> bool:
        """False: another process was faster, or the broker's list is a moment old."""
        try:
            self._result(future)
        except LogUnavailable as error:
            cause = error.__cause__
            if isinstance(cause, KafkaException) and (
                cause.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
            ):
                return False
            raise
        return True

    def _wait(self, condition: Callable[[Mapping[str, int]], bool]) -> Mapping[str, int]:
        """Every topic, once the brokers know what the controller has decided."""
        for _ in range(int(self._timeout / _POLL_SECONDS)):
            known = self._describe()
            if condition(known):
                return known
            time.sleep(_POLL_SECONDS)
        raise LogUnavailable(f"Kafka at {self._bootstrap}: topics are slow to come and go")

    async def partitions(self) -> dict[str, int]:
        """See ``Topics.partitions``."""
        return await asyncio.to_thread(self._describe)

    def _describe(self) -> dict[str, int]:
        try:
            metadata = self._client.list_topics(timeout=self._timeout)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    async def delete(self, topics: Sequence[str]) -> None:
        """See ``Topics.delete``."""
        await asyncio.to_thread(self._delete, topics)

    def _delete(self, topics: Sequence[str]) -> None:
        if not topics:
            return
        futures = self._client.delete_topics(list(topics), operation_timeout=self._timeout)
        for future in futures.values():
            self._result(future)
        self._wait(lambda known: known.keys().isdisjoint(topics))

    async def topic_id(self, topic: str) -> str:
        """See ``Topics.topic_id``."""
        return await asyncio.to_thread(self._topic_id, topic)

    def _topic_id(self, topic: str) -> str:
        futures = self._client.describe_topics(TopicCollection([topic]))
        return str(self._result(futures[topic]).topic_id)

    async def lag(self, group: str, topics: Sequence[str]) -> Sequence[PartitionLag]:
        """See ``Topics.lag``."""
        return (await self.lags({group: topics}))[group]

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        """See ``Topics.lags``."""
        every = sorted({topic for topics in readers.values() for topic in topics})
        ends = await asyncio.to_thread(self._ends, every)
        asked = {group: [at for at in ends if at[0] in topics] for group, topics in readers.items()}
        committed = await self._committed({group: ats for group, ats in asked.items() if ats})
        return {
            group: [PartitionLag(*at, committed[group].get(at), *ends[at]) for at in ats]
            for group, ats in asked.items()
        }

    def _ends(self, topics: Sequence[str]) -> dict[tuple[str, int], PartitionEnds]:
        counts = self._describe()
        tps = [
            TopicPartition(topic, partition)
            for topic in topics
            for partition in range(counts.get(topic, 0))
        ]
        if not tps:
            return {}
        starts = self._offsets(tps, OffsetSpec._earliest)
        ends = self._offsets(tps, OffsetSpec._latest)
        return {at: PartitionEnds(starts[at], end) for at, end in ends.items()}

    async def trim(self, readers: Mapping[str, Sequence[str]], before_ms: int) -> int:
        """See ``Topics.trim``."""
        below: dict[tuple[str, int], int] = {}
        starts: dict[tuple[str, int], int] = {}
        for rows in (await self.lags(readers)).values():
            for row in rows:
                at = (row.topic, row.partition)
                starts[at] = row.start
                below[at] = min(below.get(at, row.end), row.committed or 0)
        return await asyncio.to_thread(self._trim, starts, below, before_ms)

    def _trim(
        self,
        starts: Mapping[tuple[str, int], int],
        below: Mapping[tuple[str, int], int],
        before_ms: int,
    ) -> int:
        tps = [TopicPartition(*at) for at, offset in below.items() if offset > starts[at]]
        if not tps:
            return 0
        aged = self._offsets(tps, OffsetSpec.for_timestamp(before_ms))
        wanted = {
            at: below[at] if aged[at] < 0 else min(below[at], aged[at])  # < 0: all are older
            for at in aged
        }
        doomed = {at: offset for at, offset in wanted.items() if offset > starts[at]}
        self._delete_records(doomed)
        return sum(offset - starts[at] for at, offset in doomed.items())

    async def drop(self, topic: str, below: Mapping[int, int]) -> int:
        """See ``Topics.drop``."""
        return await asyncio.to_thread(self._drop, topic, below)

    def _drop(self, topic: str, below: Mapping[int, int]) -> int:
        ends = self._ends([topic])
        doomed = {
            (topic, partition): min(offset, ends[topic, partition].end)
            for partition, offset in below.items()
            if offset > ends[topic, partition].start
        }
        self._delete_records(doomed)
        return sum(offset - ends[at].start for at, offset in doomed.items())

    async def held_bytes(self, topic: str, partition: int, offset: int) -> int | None:
        """None: Kafka keeps no such count."""
        return None

    def _delete_records(self, doomed: Mapping[tuple[str, int], int]) -> None:
        if not doomed:
            return
        futures = self._client.delete_records(
            [TopicPartition(*at, offset) for at, offset in doomed.items()],
            request_timeout=self._timeout,
        )
        for future in futures.values():
            self._result(future)

    def _offsets(self, tps: Sequence[TopicPartition], spec: Any) -> dict[tuple[str, int], int]:
        futures = self._client.list_offsets(
            dict.fromkeys(tps, spec),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._timeout,
        )
        return {
            (tp.topic, tp.partition): self._result(future).offset for tp, future in futures.items()
        }

    async def _committed(
        self, asked: Mapping[str, Sequence[tuple[str, int]]]
    ) -> Mapping[str, Mapping[tuple[str, int], int]]:
        """By group. Not librdkafka's call: it ends the process (a null pointer) when the answer
        is that the group's coordinator is moving, as after any start of a broker."""
        if not asked:
            return {}
        client = AIOKafkaAdminClient(
            bootstrap_servers=self._bootstrap, request_timeout_ms=int(self._timeout * 1000)
        )
        try:
            await client.start()
            return {
                group: await self._group_offsets(client, group, partitions)
                for group, partitions in asked.items()
            }
        except (aiokafka.errors.KafkaError, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error
        finally:
            await client.close()

    async def _group_offsets(
        self, client: AIOKafkaAdminClient, group: str, partitions: Sequence[tuple[str, int]]
    ) -> Mapping[tuple[str, int], int]:
        for _ in range(int(self._timeout / _COORDINATOR_SECONDS)):
            with contextlib.suppress(*_COORDINATOR_MOVES):
                return await _group_offsets(client, group, partitions)
            await asyncio.sleep(_COORDINATOR_SECONDS)
        raise LogUnavailable(f"Kafka at {self._bootstrap}: group {group} has no coordinator")

    def _result(self, future: Any) -> Any:
        try:
            return future.result(timeout=self._timeout)
        except (KafkaException, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> LogUnavailable:
        return LogUnavailable(f"Kafka at {self._bootstrap}: {error}")


async def _group_offsets(
    client: AIOKafkaAdminClient, group: str, partitions: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], int]:
    """Partitions without an offset left out. (The client's own function takes an error of
    the whole answer for a group without offsets.)"""
    of_topic: dict[str, list[int]] = {}
    for topic, partition in partitions:
        of_topic.setdefault(topic, []).append(partition)
    request = OffsetFetchRequest(group, list(of_topic.items()))
    response = await client._send_request(request, await client.find_coordinator(group))
    answers = [
        (topic, partition, offset, error)
        for topic, rows in response.topics
        for partition, offset, _, error in rows
    ]
    for code in (response.error_code, *(error for *_, error in answers)):
        if code:
            raise aiokafka.errors.for_code(code)(f"offsets of group {group}")
    return {(topic, partition): offset for topic, partition, offset, _ in answers if offset >= 0}


def _check_partitions(topics: Sequence[TopicSettings], existing: Mapping[str, int]) -> None:
    """Raises Stop."""
    problems = [
        f"{topic.name}: has {existing[topic.name]} partitions, {topic.partitions} are wanted; "
        "the count of a live topic never changes"
        for topic in topics
        if existing.get(topic.name, topic.partitions) != topic.partitions
    ]
    if problems:
        raise Stop("\n".join(problems))


def _config(topic: TopicSettings) -> dict[str, str]:
    forever = topic.retention_ms is None
    return {
        "retention.ms": "-1" if forever else str(topic.retention_ms),
        "retention.bytes": "-1",
        "cleanup.policy": "delete",
        "max.message.bytes": str(
            MAX_DEAD_LETTER_BYTES if topic.value == "DeadLetter" else MAX_WHOLE_BYTES
        ),
        "segment.bytes": str(64 * 1024 * 1024),
    }
