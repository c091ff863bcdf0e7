"""The beds: each conformance test runs on every log."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.streams.beds import Bed, kafka_bed, sqlite_bed


@pytest.fixture(params=["kafka", "sqlite"])
def make_bed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Bed]:
    """Asks for a Kafka only where the test is about Kafka."""
    if request.param == "sqlite":
        return lambda: sqlite_bed(tmp_path)
    kafka: str = request.getfixturevalue("kafka")
    site: str = request.getfixturevalue("topic_prefix")
    return lambda: kafka_bed(kafka, site)


@pytest_asyncio.fixture
async def bed(make_bed: Callable[[], Bed]) -> AsyncIterator[Bed]:
    made = make_bed()
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def on_kafka(kafka: str, topic_prefix: str) -> AsyncIterator[Bed]:
    made = kafka_bed(kafka, topic_prefix)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def on_sqlite(tmp_path: Path) -> AsyncIterator[Bed]:
    made = sqlite_bed(tmp_path)
    await made.start()
    yield made
    await made.stop()
