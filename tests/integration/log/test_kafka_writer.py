"""The log's writer on real Kafka: what concerns Kafka alone."""

import asyncio
import random

import pytest
from confluent_kafka import Message, Producer

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers.ports import LOOPBACK
from tests.integration.log.topics_of_tests import everything, make_topic, numbered

pytestmark = pytest.mark.asyncio


async def test_nothing_to_append_asks_nobody() -> None:
    writer = KafkaWriter(f"{LOOPBACK}:1", SystemClock())
    await writer.append([])
    await writer.stop()


async def test_an_unknown_topic_is_told_with_the_brokers_address(
    kafka: str, topic_prefix: str, writer: KafkaWriter
) -> None:
    with pytest.raises(LogUnavailable) as refused:
        await writer.append(numbered(topic_prefix, 0, 1))
    assert str(refused.value) == (
        f"Kafka at {kafka}: topic {topic_prefix} does not exist: run `edgeferry topics apply`"
    )


async def test_every_key_goes_where_a_java_client_puts_it(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    """librdkafka's murmur2_random is the Java producer's partitioner."""
    ours = await make_topic(KafkaTopics(kafka), f"{topic_prefix}.ours", 12)
    theirs = await make_topic(KafkaTopics(kafka), f"{topic_prefix}.theirs", 12)
    keys = [b"%032x" % random.Random(i).getrandbits(128) for i in range(500)]
    keys += [bytes(range(length)) for length in range(1, 40)]
    await writer.append([Outgoing(ours, key, key) for key in keys])
    where: dict[bytes, int] = {}

    def delivered(error: object, message: Message) -> None:
        assert error is None
        where[message.value() or b""] = message.partition() or 0

    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
    for key in keys:
        producer.produce(theirs, key, key, on_delivery=delivered)
    assert await asyncio.to_thread(producer.flush, 30) == 0
    found = {row.value: row.partition for row in await everything(reader, ours)}
    assert found == where
    assert len(set(where.values())) == 12


async def test_a_stop_does_not_wait_for_a_kafka_that_is_not_there() -> None:
    writer = KafkaWriter(f"{LOOPBACK}:1", SystemClock())
    waiting = asyncio.create_task(writer.append(numbered("t", 0, 1)))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await writer.stop()
        with pytest.raises(LogUnavailable):
            await waiting
