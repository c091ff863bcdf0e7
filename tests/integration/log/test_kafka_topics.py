"""Topics of real Kafka: what concerns Kafka alone."""

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType

from edgeferry.core.errors import LogUnavailable
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import TopicSettings
from edgeferry.tools.servers.ports import LOOPBACK
from tests.integration.log.topics_of_tests import rule_topic

pytestmark = pytest.mark.asyncio


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


async def test_a_kafka_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeferry.log.kafka_topics._TIMEOUT", 1.0)
    admin = KafkaTopics(f"{LOOPBACK}:1")
    with pytest.raises(LogUnavailable, match=f"Kafka at {LOOPBACK}:1"):
        await admin.ensure([rule_topic("t")])
    with pytest.raises(LogUnavailable):
        await admin.topic_id("t")
