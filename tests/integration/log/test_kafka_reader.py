"""The log's reader on real Kafka: what concerns Kafka alone."""

import asyncio

import pytest

from edgeferry.core.errors import LogUnavailable
from edgeferry.log import kafka_reader as reader_module
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers.ports import LOOPBACK
from tests.foreign_headers import RawName, append_foreign
from tests.integration.log.topics_of_tests import everything, make_topic, numbered

pytestmark = pytest.mark.asyncio

MOST = 10_000_000


async def test_more_partitions_than_may_be_open_are_read_all_the_same(
    kafka: str,
    topic_prefix: str,
    writer: KafkaWriter,
    reader: KafkaReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_module, "_OPEN_CONSUMERS", 2)
    topic = await make_topic(KafkaTopics(kafka), topic_prefix, 5)
    await writer.append([row for i in range(64) for row in numbered(topic, i, i + 1, b"%d" % i)])
    for _ in range(2):
        rows = await everything(reader, topic)
        assert sorted(int(row.value or b"") for row in rows) == list(range(64))
    assert len(reader._open) == 2


async def test_headers_are_clean_whoever_wrote_them(
    kafka: str, topic_prefix: str, reader: KafkaReader
) -> None:
    topic = await make_topic(KafkaTopics(kafka), topic_prefix)
    await append_foreign(
        kafka, topic, [("a", b"1")], [("null", None), (RawName(b"h\xff"), b"2")], [("b", b"3")]
    )
    assert [list(row.headers) for row in await everything(reader, topic)] == [
        [("a", b"1")],
        [("null", b""), ("h?", b"2")],
        [("b", b"3")],
    ]


async def test_callers_that_start_together_share_a_connection(
    kafka: str, topic_prefix: str, writer: KafkaWriter, reader: KafkaReader
) -> None:
    topic = await make_topic(KafkaTopics(kafka), topic_prefix)
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
