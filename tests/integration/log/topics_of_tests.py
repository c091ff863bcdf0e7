"""Topics with records in them, and what stands in them."""

import asyncio
from collections.abc import Awaitable, Callable

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from edgeferry.core.record import LogReader, Outgoing, Record
from edgeferry.log.port import Topics
from edgeferry.log.topics import TopicSettings

DEADLINE_SECONDS = 60.0


def rule_topic(name: str, partitions: int = 1) -> TopicSettings:
    return TopicSettings(name, "RuleMessage", partitions, None)


async def make_topic(topics: Topics, name: str, partitions: int = 1) -> str:
    await topics.ensure([rule_topic(name, partitions)])
    return name


def numbered(topic: str, start: int, stop: int, key: bytes | None = b"k") -> list[Outgoing]:
    """Records whose value is their number as decimal text."""
    return [Outgoing(topic, key, b"%d" % number) for number in range(start, stop)]


async def everything(reader: LogReader, topic: str) -> list[Record]:
    """All records, partition by partition in order."""
    found: list[Record] = []
    for partition, (start, end) in (await reader.ends(topic)).items():
        at = start
        while at < end:
            rows = await reader.read(topic, partition, at, 10_000_000, 1_000)
            if rows:
                found += rows
                at = rows[-1].offset + 1
    return found


async def numbers(reader: LogReader, topic: str) -> list[int]:
    return [int(row.value or b"") for row in await everything(reader, topic)]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition with a deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE_SECONDS
    while not await condition():
        assert loop.time() < deadline, f"{what} after {DEADLINE_SECONDS} s"
        await asyncio.sleep(0.05)


def limit_topic(kafka: str, topic: str, limit: int) -> None:
    """``max.message.bytes`` of a topic on Kafka, as an operator sets it."""
    entry = ConfigEntry(
        "max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET
    )
    of_topic = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    client = AdminClient({"bootstrap.servers": kafka})
    for future in client.incremental_alter_configs([of_topic]).values():
        future.result(30)
