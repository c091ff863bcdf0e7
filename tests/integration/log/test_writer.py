"""The log's writer on real Kafka."""

import asyncio
import random
from collections import defaultdict

import pytest
from confluent_kafka import Message, Producer

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.limits import MAX_RECORD_BYTES
from edgeferry.log.topics import TopicSettings
from edgeferry.tools.servers.ports import LOOPBACK
from tests.integration.log.topics_of_tests import everything, make_topic, numbered, numbers, until

pytestmark = pytest.mark.asyncio


class TestAppend:
    async def test_what_was_appended_stands_in_the_log_as_it_was(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        headers = [("traceparent", b"00-1"), ("empty", b""), ("traceparent", b"twice")]
        before = SystemClock().now_ms()
        await writer.append(
            [
                Outgoing(topic, b"key", b"\x00\xff", headers),
                Outgoing(topic, None, b""),
                Outgoing(topic, b"", b"x", tuple(headers)),
            ]
        )
        first, second, third = await everything(reader, topic)
        assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
        assert (first.key, first.value, list(first.headers)) == (b"key", b"\x00\xff", headers)
        assert before <= first.timestamp <= SystemClock().now_ms()
        assert (second.key, second.value, list(second.headers)) == (None, b"", [])
        assert (third.key, list(third.headers)) == (b"", headers)

    async def test_nothing_to_append_asks_nobody(self) -> None:
        writer = KafkaWriter(f"{LOOPBACK}:1", SystemClock())
        await writer.append([])
        await writer.stop()

    async def test_appends_of_many_callers_keep_their_order_per_partition(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix, 4)
        dice = random.Random(17)

        async def caller(name: int) -> None:
            sent = 0
            while sent < 300:
                count = dice.randint(1, 20)
                rows = numbered(topic, sent, sent + count, b"caller-%d" % name)
                await writer.append(rows)
                sent += count

        await asyncio.gather(*(caller(name) for name in range(40)))
        found: dict[bytes | None, list[int]] = defaultdict(list)
        for row in await everything(reader, topic):
            found[row.key].append(int(row.value or b""))
        assert len(found) == 40
        for values in found.values():
            assert values == list(range(len(values)))
            assert len(values) >= 300

    async def test_appends_that_are_not_awaited_in_between_keep_their_order(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        appends = [
            asyncio.ensure_future(writer.append(numbered(topic, i, i + 1))) for i in range(500)
        ]
        await asyncio.gather(*appends)
        assert await numbers(reader, topic) == list(range(500))

    async def test_one_append_larger_than_a_batch_keeps_its_order(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        rows = [Outgoing(topic, b"k", b"%6d" % i + b" " * 40_000) for i in range(100)]
        await writer.append(rows)
        found = [int((row.value or b"")[:6]) for row in await everything(reader, topic)]
        assert found == list(range(100))

    async def test_a_caller_that_gives_up_leaves_the_others_alone(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        gone = asyncio.create_task(writer.append(numbered(topic, 0, 1)))
        stays = asyncio.create_task(writer.append(numbered(topic, 1, 2)))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert (await numbers(reader, topic))[-1] == 1

    async def test_records_without_a_key_find_a_partition(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix, 4)
        await writer.append(numbered(topic, 0, 100, key=None))
        assert sorted(await numbers(reader, topic)) == list(range(100))


class TestPartitions:
    async def test_every_key_goes_where_a_java_client_puts_it(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        """librdkafka's murmur2_random is the Java producer's partitioner."""
        ours = await make_topic(kafka, f"{topic_prefix}.ours", 12)
        theirs = await make_topic(kafka, f"{topic_prefix}.theirs", 12)
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


class TestTooLarge:
    async def test_a_record_above_the_limit_is_refused_at_once(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        large = Outgoing(topic, b"k", b"x" * (MAX_RECORD_BYTES + 1))
        with pytest.raises(RecordTooLarge, match=f"1000001 bytes for {topic} .* 1000000 bytes"):
            await writer.append([*numbered(topic, 0, 1), large])
        await writer.append(numbered(topic, 1, 2))
        assert await numbers(reader, topic) == [1]

    async def test_a_record_of_exactly_the_limit_is_taken_whatever_its_key_and_headers(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        headers = [("large", b"x" * 500_000)]
        row = Outgoing(topic, b"k" * 100_000, random.randbytes(MAX_RECORD_BYTES), headers)
        await writer.append([*numbered(topic, 0, 1), row, *numbered(topic, 1, 2)])
        assert [len(row.value or b"") for row in await everything(reader, topic)] == [
            1,
            MAX_RECORD_BYTES,
            1,
        ]

    async def test_a_dead_letter_of_the_largest_record_is_taken(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = f"{topic_prefix}.dead-letters"
        await KafkaTopics(kafka).ensure([TopicSettings(topic, "DeadLetter", 1, None)])
        letter = random.randbytes(2 * 1024 * 1024 + 10_000)
        await writer.append([Outgoing(topic, b"k", letter)])
        assert [row.value for row in await everything(reader, topic)] == [letter]

    async def test_what_kafka_refuses_for_its_size_hurts_its_own_caller_alone(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix, 4)
        headers = [("huge", random.randbytes(3_000_000))]
        refused = Outgoing(topic, b"huge", b"x", headers)
        answers = await asyncio.gather(
            writer.append(numbered(topic, 0, 50, b"a")),
            writer.append([refused]),
            writer.append(numbered(topic, 50, 100, b"b")),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), RecordTooLarge, type(None)]
        await writer.append(numbered(topic, 100, 150, b"huge"))
        assert sorted(set(await numbers(reader, topic))) == list(range(150))


class TestUnknownTopic:
    async def test_it_is_a_clear_error_and_passes_once_the_topic_is_made(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        rows = numbered(topic_prefix, 0, 3)
        async with asyncio.timeout(10):
            with pytest.raises(LogUnavailable) as refused:
                await writer.append(rows)
        assert str(refused.value) == (
            f"Kafka at {kafka}: topic {topic_prefix} does not exist: run `edgeferry topics apply`"
        )
        await make_topic(kafka, topic_prefix)

        async def passes() -> bool:
            try:
                await writer.append(rows)
            except LogUnavailable:
                return False
            return True

        await until(passes, "the topic is not known")
        assert await numbers(reader, topic_prefix) == [0, 1, 2]

    async def test_it_hurts_its_own_caller_alone(
        self, kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, f"{topic_prefix}.known")
        answers = await asyncio.gather(
            writer.append(numbered(topic, 0, 1)),
            writer.append([*numbered(topic, 1, 2), *numbered(f"{topic_prefix}.unknown", 0, 1)]),
            writer.append(numbered(topic, 2, 3)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), LogUnavailable, type(None)]
        assert await numbers(reader, topic) == [0, 2]


class TestStop:
    async def test_what_waits_is_delivered(
        self, kafka: str, topic_prefix: str, reader: KafkaReader
    ) -> None:
        topic = await make_topic(kafka, topic_prefix)
        writer = KafkaWriter(kafka, SystemClock())
        appends = [asyncio.create_task(writer.append(numbered(topic, i, i + 1))) for i in range(50)]
        await asyncio.sleep(0)
        await writer.stop()
        await asyncio.gather(*appends)
        assert await numbers(reader, topic) == list(range(50))

    async def test_appends_that_come_later_are_refused(self, kafka: str, topic_prefix: str) -> None:
        writer = KafkaWriter(kafka, SystemClock())
        await writer.stop()
        with pytest.raises(LogUnavailable, match="closing"):
            await writer.append(numbered(topic_prefix, 0, 1))

    async def test_a_writer_that_was_never_used_stops(self, kafka: str) -> None:
        writer = KafkaWriter(kafka, SystemClock())
        await writer.start()
        await writer.stop()
        await writer.stop()

    async def test_it_does_not_wait_for_a_kafka_that_is_not_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = KafkaWriter(f"{LOOPBACK}:1", SystemClock())
        waiting = asyncio.create_task(writer.append(numbered("t", 0, 1)))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await writer.stop()
            with pytest.raises(LogUnavailable):
                await waiting
