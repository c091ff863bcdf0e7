"""Servers without anything of the sites that ``up`` makes."""

from collections.abc import AsyncIterator

import pytest_asyncio
from cassandra.cluster import Session

from edgeferry.log.kafka_topics import KafkaTopics


@pytest_asyncio.fixture
async def emptied(topic_admin: KafkaTopics, cql: Session) -> AsyncIterator[None]:
    """``up`` gives its sites their usual names: nothing of them may be there, nor stay."""
    await _empty(topic_admin, cql)
    yield
    await _empty(topic_admin, cql)


async def _empty(topic_admin: KafkaTopics, cql: Session) -> None:
    names = [
        name for name in await topic_admin.partitions() if name.startswith(("cloud.", "edge."))
    ]
    await topic_admin.delete(names)
    for keyspace in ("edgeferry", "edgeferry_edge"):
        cql.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")
