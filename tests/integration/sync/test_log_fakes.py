"""The log that the sync's other tests use, in memory, behaves as Kafka does."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import OffsetOutOfRange, RecordTooLarge
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.port import GroupReader
from edgeferry.log.topics import TopicSettings
from tests.unit.sync.fakes import MemoryLog, MemoryReader, MemoryWriter


class Log(NamedTuple):
    topic: str
    writer: LogWriter
    reader: GroupReader


@pytest_asyncio.fixture(params=["memory", "kafka"])
async def log(
    request: pytest.FixtureRequest, kafka: str, topic_prefix: str, topic_admin: KafkaTopics
) -> AsyncIterator[Log]:
    topic = f"{topic_prefix}.log"
    if request.param == "memory":
        memory = MemoryLog(SystemClock())
        memory.make(topic, 3)
        yield Log(topic, MemoryWriter(memory), MemoryReader(memory))
        return
    await topic_admin.ensure([TopicSettings(topic, "RuleMessage", 3, None)])
    writer, reader = KafkaWriter(kafka, SystemClock()), KafkaReader(kafka)
    yield Log(topic, writer, reader)
    await reader.stop()
    await writer.stop()


def outgoing(topic: str, number: int, key: bytes | None = b"k") -> Outgoing:
    return Outgoing(topic, key, b"%d" % number, [("n", b"%d" % number)])


async def partition_of(log: Log) -> int:
    ends = await log.reader.ends(log.topic)
    return next(number for number, (_, end) in ends.items() if end)


@pytest.mark.asyncio
async def test_one_keys_records_stand_in_order_in_one_partition(log: Log) -> None:
    await log.writer.append([outgoing(log.topic, number) for number in range(5)])
    await log.writer.append([outgoing(log.topic, number) for number in range(5, 8)])
    ends = await log.reader.ends(log.topic)
    assert sorted(end for _, end in ends.values()) == [0, 0, 8]
    partition = await partition_of(log)
    records = await log.reader.read(log.topic, partition, 2, 1_000_000, 5000)
    assert [record.offset for record in records] == list(range(2, 8))
    assert records[0].value == b"2"
    assert list(records[0].headers) == [("n", b"2")]
    assert records[0].key == b"k"


@pytest.mark.asyncio
async def test_a_read_at_the_end_waits_for_the_next_record(log: Log) -> None:
    await log.writer.append([outgoing(log.topic, 0)])
    partition = await partition_of(log)
    reading = asyncio.create_task(log.reader.read(log.topic, partition, 1, 1_000_000, 20_000))
    await asyncio.sleep(0)
    await log.writer.append([outgoing(log.topic, 1)])
    assert [record.value for record in await reading] == [b"1"]
    assert await log.reader.read(log.topic, partition, 2, 1_000_000, 20) == []


@pytest.mark.asyncio
async def test_a_read_gives_one_record_at_least_and_bytes_at_most(log: Log) -> None:
    await log.writer.append([Outgoing(log.topic, b"k", b"x" * 1000) for _ in range(10)])
    partition = await partition_of(log)
    assert len(await log.reader.read(log.topic, partition, 0, 1, 5000)) == 1
    assert len(await log.reader.read(log.topic, partition, 1, 3500, 5000)) == 3
    assert len(await log.reader.read(log.topic, partition, 4, 1_000_000, 5000)) == 6


@pytest.mark.asyncio
async def test_a_record_above_the_limit_is_refused_for_good(log: Log) -> None:
    value = b"x" * (log.writer.max_record_bytes + 1)
    with pytest.raises(RecordTooLarge):
        await log.writer.append([Outgoing(log.topic, b"k", value)])


@pytest.mark.asyncio
async def test_below_the_start_is_out_of_range(log: Log, topic_admin: KafkaTopics) -> None:
    await log.writer.append([outgoing(log.topic, number) for number in range(6)])
    partition = await partition_of(log)
    if isinstance(log.reader, MemoryReader):
        log.reader.log.trim(log.topic, partition, 4)
    else:
        await log.reader.commit(log.topic, log.topic, {partition: 4})
        await topic_admin.trim({log.topic: [log.topic]}, SystemClock().now_ms() + 60_000)
    assert (await log.reader.ends(log.topic))[partition] == (4, 6)
    with pytest.raises(OffsetOutOfRange):
        await log.reader.read(log.topic, partition, 2, 1_000_000, 2000)
