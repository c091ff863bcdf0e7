"""Real servers in a folder of their own: killed, stopped, started twice, left alone."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy
from confluent_kafka import Consumer, Producer, TopicPartition

from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import TopicSettings
from edgeferry.tools.servers import LocalServer, LocalServers, ServerOptions
from edgeferry.tools.supervise import StartFailed

COMMAND = (sys.executable, "-m", "edgeferry", "servers")
COUNT = 200
KEYSPACE = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"

TIES_KAFKA = """
import asyncio, sys, time
from pathlib import Path
from edgeferry.tools.servers import LocalServers, ServerOptions

kafka = LocalServers(Path(sys.argv[1]), options=ServerOptions(tied=True)).kafka
asyncio.run(kafka.start())
print(kafka.pid, flush=True)
time.sleep(600)
"""


@pytest_asyncio.fixture
async def servers(tmp_path: Path) -> AsyncIterator[LocalServers]:
    both = tied(tmp_path)
    yield both
    await both.stop()


def tied(folder: Path) -> LocalServers:
    return LocalServers(folder, options=ServerOptions(tied=True))


def pid_of(server: LocalServer) -> int:
    pid = server.pid
    assert pid is not None
    return pid


async def write_records(kafka: LocalServer) -> None:
    """COUNT acknowledged records in a new topic."""
    assert kafka.address is not None
    await KafkaTopics(kafka.address).ensure([TopicSettings("kept", "RuleMessage", 1, None)])
    producer = Producer({"bootstrap.servers": kafka.address, "acks": "all"})
    for number in range(COUNT):
        producer.produce("kept", str(number).encode())
    assert await asyncio.to_thread(producer.flush, 30) == 0


def count_records(kafka: LocalServer) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "nobody"})
    try:
        ends = consumer.get_watermark_offsets(TopicPartition("kept", 0), timeout=30)
    finally:
        consumer.close()
    return int(ends[1])


def query(cassandra: LocalServer, *statements: str) -> Any:
    """The one row of the last statement."""
    assert cassandra.address is not None
    host, _, port = cassandra.address.partition(":")
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=60)
    cluster = Cluster(
        [host],
        int(port),
        protocol_version=5,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    try:
        session = cluster.connect()
        return [session.execute(statement).one() for statement in statements][-1]
    finally:
        cluster.shutdown()


def write_rows(cassandra: LocalServer) -> None:
    """COUNT acknowledged rows in a new table."""
    query(
        cassandra,
        f"CREATE KEYSPACE kept {KEYSPACE}",
        "CREATE TABLE kept.rows (id int PRIMARY KEY)",
        *(f"INSERT INTO kept.rows (id) VALUES ({number})" for number in range(COUNT)),
    )


def count_rows(cassandra: LocalServer) -> int:
    return int(query(cassandra, "SELECT count(*) FROM kept.rows")[0])


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.05)


@pytest.mark.asyncio
async def test_killed_and_stopped_servers_go_on_with_their_data_at_their_addresses(
    servers: LocalServers,
) -> None:
    await servers.start()
    addresses = [server.address for server in servers.all]
    await write_records(servers.kafka)
    write_rows(servers.cassandra)

    for server in servers.all:
        os.kill(pid_of(server), signal.SIGKILL)
        assert await server.wait() == -signal.SIGKILL
        assert server.pid is None
    await servers.start()
    assert count_records(servers.kafka) == COUNT
    assert count_rows(servers.cassandra) == COUNT

    await servers.stop()
    assert [server.pid for server in servers.all] == [None, None]
    await servers.start()
    assert count_records(servers.kafka) == COUNT
    assert count_rows(servers.cassandra) == COUNT
    assert [server.address for server in servers.all] == addresses


@pytest.mark.asyncio
async def test_two_starts_at_once_start_one_server(servers: LocalServers, tmp_path: Path) -> None:
    second = tied(tmp_path)
    await asyncio.gather(servers.kafka.start(), second.kafka.start())
    assert pid_of(servers.kafka) == pid_of(second.kafka)
    await second.kafka.stop()
    assert servers.kafka.pid is None


@pytest.mark.asyncio
async def test_a_tied_server_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TIES_KAFKA, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert psutil.pid_exists(pid)
        parent.kill()
    await until_gone(pid)


@pytest.mark.asyncio
async def test_when_one_cannot_start_the_other_is_stopped_and_the_log_is_quoted(
    tmp_path: Path,
) -> None:
    both = LocalServers(tmp_path, cassandra_heap="none", options=ServerOptions(tied=True))
    with pytest.raises(StartFailed, match="Invalid maximum heap size"):
        await both.start()
    assert [server.pid for server in both.all] == [None, None]


def test_the_command_starts_servers_that_outlive_it_and_stops_them(tmp_path: Path) -> None:
    def run(action: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [*COMMAND, action, "--data", str(tmp_path), "--json"],
            stdout=subprocess.PIPE,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    try:
        code, started = run("start")
        assert code == 0
        assert run("status") == (0, started)
        assert all(psutil.pid_exists(server["pid"]) for server in started.values())
        assert started.keys() == {"kafka", "cassandra"}
    finally:
        code, stopped = run("stop")
    assert code == 0
    assert [server["pid"] for server in stopped.values()] == [None, None]
    assert run("status") == (3, stopped)
