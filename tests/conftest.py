"""Real servers for the tests that ask for them.

``kafka`` and ``cassandra`` start theirs when the first test asks, one pair for the whole run;
EDGEFERRY_TEST_KAFKA and EDGEFERRY_TEST_CASSANDRA (host:port) name running ones to use instead.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy

from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers import LocalServer, LocalServers, ServerOptions

_DROP_SECONDS = 60.0

Run = Callable[[Coroutine[Any, Any, None]], None]

# gRPC reads it when its first channel is made. The children that tests start are other programs:
# its fork handlers have nothing to do in them but to write into their output.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


@pytest.fixture(scope="session")
def aside() -> Iterator[Run]:
    """Runs something to its end on a loop of another thread: an async fixture, whose own loop
    runs, may be the first to ask for a server. The thread lasts as long as the servers do, as
    Linux ends them with the thread that started them."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda work: thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("servers")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kafka(servers_folder: Path, aside: Run) -> Iterator[str]:
    """host:port of a Kafka that all tests share."""
    yield from _address("EDGEFERRY_TEST_KAFKA", _servers(servers_folder).kafka, aside)


@pytest.fixture(scope="session")
def cassandra(servers_folder: Path, aside: Run) -> Iterator[str]:
    """host:port of a Cassandra that all tests share."""
    yield from _address("EDGEFERRY_TEST_CASSANDRA", _servers(servers_folder).cassandra, aside)


@pytest.fixture(scope="session")
def topic_admin(kafka: str) -> KafkaTopics:
    return KafkaTopics(kafka)


@pytest.fixture(scope="session")
def cql(cassandra: str) -> Iterator[Session]:
    """A session of its own for looking at tables; it has no keyspace."""
    host, _, port = cassandra.rpartition(":")
    profile = ExecutionProfile(
        load_balancing_policy=RoundRobinPolicy(), request_timeout=_DROP_SECONDS
    )
    cluster = Cluster(
        [host],
        port=int(port),
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


@pytest.fixture
def topic_prefix(topic_admin: KafkaTopics, aside: Run) -> Iterator[str]:
    """Starts the names of this test's topics, which are deleted afterwards; a valid site name."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    yield prefix
    aside(_delete_topics(topic_admin, prefix))


@pytest.fixture
def keyspace(cql: Session) -> Iterator[str]:
    """A keyspace that does not exist yet; dropped afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    cql.execute(f"DROP KEYSPACE IF EXISTS {name}")


def _servers(folder: Path) -> LocalServers:
    return LocalServers(folder, options=ServerOptions(tied=True))


def _address(variable: str, server: LocalServer, run: Run) -> Iterator[str]:
    given = os.environ.get(variable)
    if given:
        yield given
        return
    run(server.start())
    assert server.address is not None
    yield server.address
    run(server.stop())


async def _delete_topics(admin: KafkaTopics, prefix: str) -> None:
    await admin.delete([name for name in await admin.partitions() if name.startswith(prefix)])
