"""Trimming frees what everybody has read and nothing else."""

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import TopicSettings

pytestmark = pytest.mark.asyncio

LATER_MS = 3_600_000


async def _topic_with_records(kafka: str, topic: str, count: int) -> None:
    await KafkaTopics(kafka).ensure([TopicSettings(topic, "RuleMessage", 1, None)])
    writer = KafkaWriter(kafka, SystemClock())
    await writer.append([Outgoing(topic, b"k", b"v") for _ in range(count)])
    await writer.stop()


async def test_trimming_stops_at_the_slowest_reader(kafka: str, topic_prefix: str) -> None:
    topic, admin, reader = f"{topic_prefix}.root", KafkaTopics(kafka), KafkaReader(kafka)
    await _topic_with_records(kafka, topic, 10)
    await reader.commit(f"{topic_prefix}.fast", topic, {0: 9})
    await reader.commit(f"{topic_prefix}.slow", topic, {0: 4})
    readers = {f"{topic_prefix}.fast": [topic], f"{topic_prefix}.slow": [topic]}
    assert await admin.trim(readers, SystemClock().now_ms() + LATER_MS) == 4
    assert (await reader.ends(topic))[0] == (4, 10)
    assert await admin.trim(readers, SystemClock().now_ms() + LATER_MS) == 0
    await reader.stop()


async def test_a_reader_that_never_committed_holds_everything(
    kafka: str, topic_prefix: str
) -> None:
    topic, admin, reader = f"{topic_prefix}.root", KafkaTopics(kafka), KafkaReader(kafka)
    await _topic_with_records(kafka, topic, 10)
    await reader.commit(f"{topic_prefix}.fast", topic, {0: 10})
    readers = {f"{topic_prefix}.fast": [topic], f"{topic_prefix}.new": [topic]}
    assert await admin.trim(readers, SystemClock().now_ms() + LATER_MS) == 0
    await reader.stop()


async def test_what_was_read_a_moment_ago_stays_for_inspection(
    kafka: str, topic_prefix: str
) -> None:
    topic, admin, reader = f"{topic_prefix}.root", KafkaTopics(kafka), KafkaReader(kafka)
    await _topic_with_records(kafka, topic, 10)
    await reader.commit(f"{topic_prefix}.fast", topic, {0: 10})
    readers = {f"{topic_prefix}.fast": [topic]}
    assert await admin.trim(readers, SystemClock().now_ms() - LATER_MS) == 0
    await reader.stop()
