"""Each log behind its port: the tests that take ``log`` run on both.

Those on SQLite need no server: ``pytest tests/integration/log -k sqlite``."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_log import KafkaLog
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.port import Log
from edgeferry.log.sqlite import SqliteLog

OpenLog = Callable[[bool], Log]


@pytest.fixture(params=["sqlite", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_log(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Called with whether it is the owner; the log is not started yet."""
    if kind == "sqlite":
        return lambda owner: SqliteLog(folder=tmp_path, clock=SystemClock(), owner=owner)
    bootstrap: str = request.getfixturevalue("kafka")
    return lambda _: KafkaLog(bootstrap=bootstrap, replication=1, clock=SystemClock())


@pytest_asyncio.fixture
async def log(open_log: OpenLog) -> AsyncIterator[Log]:
    made = open_log(True)
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def beside(log: Log, open_log: OpenLog) -> AsyncIterator[Log]:
    """A tool's, at the same time."""
    made = open_log(False)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def prefix(kind: str, request: pytest.FixtureRequest) -> str:
    """Starts the names of this test's topics."""
    found: str = request.getfixturevalue("topic_prefix") if kind == "kafka" else "t"
    return found


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
