"""The log's reader on real Kafka."""

import asyncio

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from edgeferry.core.errors import LogUnavailable, OffsetOutOfRange
from edgeferry.core.record import Outgoing
from edgeferry.log import kafka_reader as reader_module
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers.ports import LOOPBACK
from tests.integration.log.topics_of_tests import everything, make_topic, numbered, rule_topic

pytestmark = pytest.mark.asyncio

MOST = 10_000_000


async def _read(
    reader: KafkaReader, topic: str, offset: int, *, partition: int = 0, max_bytes: int = MOST
) -> list[int]:
    """Numbers in the records of one read that waits until there are some."""
    rows = await reader.read(topic, partition, offset, max_bytes, 10_000)
    assert [row.offset for row in rows] == list(range(offset, offset + len(rows)))
    return [int(row.value or b"") for row in rows]


async def _delete_records(kafka: str, topic: str, before: int) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topic, 0, before)]).values():
        await asyncio.to_thread(future.result, 30)


async def test_reading_starts_at_the_offset_that_was_asked_for(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 10))
    assert await _read(reader, topic, 7) == [7, 8, 9]
    assert await _read(reader, topic, 0) == list(range(10))
    assert await _read(reader, topic, 9) == [9]


async def test_reading_goes_on_where_the_last_read_ended(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 3))
    assert await _read(reader, topic, 0) == [0, 1, 2]
    waiting = asyncio.create_task(_read(reader, topic, 3))
    await writer.append(numbered(topic, 3, 5))
    assert await waiting == [3, 4]


async def test_a_read_without_records_waits_as_long_as_it_was_told(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await reader.read(topic, 0, 1, MOST, 300) == []
    assert 0.25 < loop.time() - began < 5
    assert await reader.read(topic, 0, 1, MOST, 0) == []


async def test_a_read_ends_at_the_bytes_it_was_given_and_loses_nothing(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append([Outgoing(topic, b"0123456789", b"%2d" % i + b" " * 88) for i in range(20)])
    found: list[int] = []
    for _ in range(7):
        rows = await _read(reader, topic, len(found), max_bytes=350)
        assert len(rows) <= 3
        found += rows
    assert found == list(range(20))
    for offset in (5, 0, 11):  # what was fetched beyond a read is of no use elsewhere
        rows = await _read(reader, topic, offset, max_bytes=350)
        assert rows == list(range(offset, offset + 3))


async def test_a_record_larger_than_the_bytes_comes_alone(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 3))
    assert await _read(reader, topic, 0, max_bytes=0) == [0]
    assert await _read(reader, topic, 1, max_bytes=1) == [1]


async def test_an_offset_that_the_log_no_longer_holds_is_a_loss_to_report(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 10))
    assert await _read(reader, topic, 0) == list(range(10))
    await _delete_records(kafka, topic, 6)
    with pytest.raises(OffsetOutOfRange, match="no longer holds"):
        await reader.read(topic, 0, 3, MOST, 10_000)
    assert (await reader.ends(topic))[0] == (6, 10)
    assert await _read(reader, topic, 6) == [6, 7, 8, 9]


async def test_ends_are_those_of_every_partition(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix, 3)
    assert dict(await reader.ends(topic)) == dict.fromkeys(range(3), (0, 0))
    await writer.append(numbered(topic, 0, 5, b"one key"))
    assert sorted((await reader.ends(topic)).values()) == [(0, 0), (0, 0), (0, 5)]


async def test_partitions_are_read_at_the_same_time(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix, 4)
    await writer.append([row for i in range(64) for row in numbered(topic, i, i + 1, b"%d" % i)])
    found = await asyncio.gather(*(reader.read(topic, p, 0, MOST, 10_000) for p in range(4)))
    assert sorted(int(row.value or b"") for rows in found for row in rows) == list(range(64))


async def test_more_partitions_than_may_be_open_are_read_all_the_same(
    kafka: str,
    topic_prefix: str,
    writer: KafkaWriter,
    reader: KafkaReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_module, "_OPEN_PARTITIONS", 2)
    topic = await make_topic(kafka, topic_prefix, 5)
    await writer.append([row for i in range(64) for row in numbered(topic, i, i + 1, b"%d" % i)])
    for _ in range(2):
        rows = await everything(reader, topic)
        assert sorted(int(row.value or b"") for row in rows) == list(range(64))
    assert len(reader._open) == 2


async def test_callers_that_start_together_share_a_connection(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 3))
    opened = 0
    started = reader._started

    async def counted(group: str | None) -> object:
        nonlocal opened
        opened += 1
        return await started(group)

    reader._started = counted  # type: ignore[method-assign]
    await asyncio.gather(*(reader.ends(topic) for _ in range(5)))
    await asyncio.gather(*(reader.committed("nobody", topic) for _ in range(5)))
    assert opened == 2


async def test_commits_stand_until_the_next(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix, 3)
    group = f"{topic}.group"
    assert await reader.committed(group, topic) == {}
    await reader.commit(group, topic, {0: 5, 2: 7})
    assert await reader.committed(group, topic) == {0: 5, 2: 7}
    await reader.commit(group, topic, {0: 6})
    fresh = KafkaReader(kafka)
    assert await fresh.committed(group, topic) == {0: 6, 2: 7}
    await fresh.stop()
    assert await reader.committed(f"{topic}.other", topic) == {}


async def test_an_unknown_topic_says_what_to_do(
    topic_prefix: str, reader: KafkaReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_METADATA_TIMEOUT_MS", 500)
    with pytest.raises(LogUnavailable, match="no such topic: run `edgeferry topics apply`"):
        await reader.ends(topic_prefix)


async def test_a_kafka_that_is_not_there_is_unavailable() -> None:
    reader = KafkaReader(f"{LOOPBACK}:1")
    for call in (
        reader.ends("t"),
        reader.read("t", 0, 0, MOST, 10),
        reader.committed("g", "t"),
        reader.commit("g", "t", {0: 1}),
    ):
        with pytest.raises(LogUnavailable, match=f"Kafka at {LOOPBACK}:1"):
            await call
    await reader.stop()


async def test_a_topic_that_was_made_anew_is_read_from_its_start(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    await writer.append(numbered(topic, 0, 5))
    assert await _read(reader, topic, 3) == [3, 4]
    await KafkaTopics(kafka).delete([topic])
    await KafkaTopics(kafka).ensure([rule_topic(topic)])
    other = KafkaWriter(kafka, writer._clock)
    await other.append(numbered(topic, 10, 12))
    await other.stop()
    with pytest.raises(OffsetOutOfRange):
        await reader.read(topic, 0, 5, MOST, 10_000)
    assert await _read(reader, topic, 0) == [10, 11]
