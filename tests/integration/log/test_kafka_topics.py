"""Topics, their identities and the lag of groups on real Kafka."""

import asyncio

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import TopicSettings
from edgeferry.tools.servers.ports import LOOPBACK
from tests.integration.log.topics_of_tests import make_topic, numbered, rule_topic

pytestmark = pytest.mark.asyncio


async def test_ensuring_makes_what_is_missing_and_nothing_twice(
    topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    a, b = rule_topic(f"{topic_prefix}.a", 3), rule_topic(f"{topic_prefix}.b", 1)
    assert await topic_admin.ensure([a]) == [a.name]
    assert await topic_admin.ensure([a, b]) == [b.name]
    assert await topic_admin.ensure([a, b]) == []
    assert await topic_admin.ensure([]) == []
    counts = await topic_admin.partitions()
    assert (counts[a.name], counts[b.name]) == (3, 1)


async def test_ensuring_twice_at_the_same_time_is_once(
    topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    topics = [rule_topic(f"{topic_prefix}.{i}", 2) for i in range(5)]
    made = await asyncio.gather(*(topic_admin.ensure(topics) for _ in range(4)))
    counts = await topic_admin.partitions()
    assert all(counts[topic.name] == 2 for topic in topics)
    assert {name for names in made for name in names} == {topic.name for topic in topics}


async def test_another_number_of_partitions_stops_and_names_every_topic(
    topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    names = [f"{topic_prefix}.a", f"{topic_prefix}.b"]
    await topic_admin.ensure([rule_topic(name, 3) for name in names])
    wanted = [*(rule_topic(name, 4) for name in names), rule_topic(f"{topic_prefix}.c")]
    with pytest.raises(Stop) as stopped:
        await topic_admin.ensure(wanted)
    assert str(stopped.value).splitlines() == [
        f"{name}: has 3 partitions, 4 are wanted; the count of a live topic never changes"
        for name in names
    ]
    assert f"{topic_prefix}.c" not in await topic_admin.partitions()


async def test_a_topic_is_made_with_its_settings(
    kafka: str, topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    topics = [
        TopicSettings(f"{topic_prefix}.kept", "RuleMessage", 1, None),
        TopicSettings(f"{topic_prefix}.day", "RuleMessage", 1, 86_400_000),
        TopicSettings(f"{topic_prefix}.dead-letters", "DeadLetter", 1, None),
    ]
    await topic_admin.ensure(topics)
    client = AdminClient({"bootstrap.servers": kafka})
    resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics]
    found = [
        {name: entry.value for name, entry in future.result(30).items()}
        for future in client.describe_configs(resources).values()
    ]
    kept, day, dead = found
    assert {row["cleanup.policy"] for row in found} == {"delete"}
    assert {row["retention.bytes"] for row in found} == {"-1"}
    assert [row["retention.ms"] for row in found] == ["-1", "86400000", "-1"]
    assert int(dead["max.message.bytes"]) == 2 * int(kept["max.message.bytes"])
    assert day["max.message.bytes"] == kept["max.message.bytes"]


async def test_lag_is_told_of_every_partition(
    kafka: str,
    topic_admin: KafkaTopics,
    topic_prefix: str,
    writer: KafkaWriter,
    reader: KafkaReader,
) -> None:
    topic = await make_topic(kafka, topic_prefix, 2)
    group = f"{topic}.group"
    await writer.append(numbered(topic, 0, 10, b"one key"))
    ends = await reader.ends(topic)
    (used,) = [partition for partition, end in ends.items() if end.end]
    empty = 1 - used
    never = sorted(await topic_admin.lag(group, [topic]))
    assert [(row.partition, row.committed, row.start) for row in never] == [
        (0, None, 0),
        (1, None, 0),
    ]
    assert sum(row.lag for row in never) == 10
    await reader.commit(group, topic, {used: 4})
    rows = {row.partition: row for row in await topic_admin.lag(group, [topic])}
    assert rows[used] == PartitionLag(topic, used, 4, 0, 10)
    assert rows[used].lag == 6
    assert rows[empty].lag == 0


async def test_the_lag_of_no_topic_is_nothing(topic_admin: KafkaTopics, topic_prefix: str) -> None:
    assert await topic_admin.lag("group", []) == []
    assert await topic_admin.lag("group", [topic_prefix]) == []


async def test_a_topic_made_anew_has_another_identity(
    kafka: str, topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    topic = await make_topic(kafka, topic_prefix)
    first = await topic_admin.topic_id(topic)
    assert await topic_admin.topic_id(topic) == first
    await topic_admin.delete([topic])
    assert topic not in await topic_admin.partitions()
    await make_topic(kafka, topic)
    assert await topic_admin.topic_id(topic) not in (first, "")


async def test_the_identity_of_an_unknown_topic_is_an_error(
    topic_admin: KafkaTopics, topic_prefix: str
) -> None:
    with pytest.raises(LogUnavailable):
        await topic_admin.topic_id(topic_prefix)


async def test_a_kafka_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeferry.log.kafka_topics._TIMEOUT", 1.0)
    admin = KafkaTopics(f"{LOOPBACK}:1")
    with pytest.raises(LogUnavailable, match=f"Kafka at {LOOPBACK}:1"):
        await admin.ensure([rule_topic("t")])
    with pytest.raises(LogUnavailable):
        await admin.topic_id("t")
