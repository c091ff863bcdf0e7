from collections.abc import AsyncIterator

import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader


@pytest_asyncio.fixture
async def writer(kafka: str) -> AsyncIterator[KafkaWriter]:
    made = KafkaWriter(kafka, SystemClock())
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def reader(kafka: str) -> AsyncIterator[KafkaReader]:
    made = KafkaReader(kafka)
    yield made
    await made.stop()
