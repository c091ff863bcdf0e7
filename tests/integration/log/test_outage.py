"""Kafka killed under appends: what was acknowledged is there, in its order."""

import asyncio
import contextlib
import os
import random
import signal
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers import LocalServer, LocalServers, ServerOptions
from tests.integration.log.topics_of_tests import everything, make_topic, numbered, numbers, until

pytestmark = pytest.mark.asyncio

CALLERS = 20
KILLS = 2
APPENDS_BETWEEN_KILLS = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A Kafka of these tests' own."""
    options = ServerOptions(tied=True)
    server = LocalServers(tmp_path_factory.mktemp("outage"), options=options).kafka
    yield server
    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(server.stop())


@pytest_asyncio.fixture
async def own_kafka(server: LocalServer) -> LocalServer:
    await server.start()
    return server


async def _kill(server: LocalServer) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await server.wait()


def _address(server: LocalServer) -> str:
    assert server.address is not None
    return server.address


async def test_every_acknowledged_append_survives_kafkas_death_in_its_order(
    own_kafka: LocalServer,
) -> None:
    bootstrap = _address(own_kafka)
    topic = await make_topic(KafkaTopics(bootstrap), uuid.uuid4().hex, 4)
    writer, reader = KafkaWriter(bootstrap, SystemClock()), KafkaReader(bootstrap)
    acknowledged: dict[bytes, list[int]] = defaultdict(list)
    progress = asyncio.Condition()
    stop = asyncio.Event()

    async def caller(name: bytes) -> None:
        """Repeats an append until it is acknowledged, as every caller does."""
        number = 0
        while not stop.is_set():
            rows = numbered(topic, number, number + 3, name)
            try:
                await writer.append(rows)
            except LogUnavailable:
                await asyncio.sleep(0.05)
                continue
            acknowledged[name] += range(number, number + 3)
            number += 3
            async with progress:
                progress.notify_all()

    async def appended(count: int) -> None:
        wanted = sum(map(len, acknowledged.values())) + count
        async with asyncio.timeout(90), progress:
            await progress.wait_for(lambda: sum(map(len, acknowledged.values())) >= wanted)

    callers = [asyncio.create_task(caller(b"caller-%d" % i)) for i in range(CALLERS)]
    dice = random.Random(5)
    for _ in range(KILLS):
        await appended(APPENDS_BETWEEN_KILLS + dice.randrange(100))
        await _kill(own_kafka)
        await own_kafka.start()
    await appended(APPENDS_BETWEEN_KILLS)
    stop.set()
    await asyncio.gather(*callers)
    await writer.stop()

    found: dict[bytes, list[int]] = defaultdict(list)
    for row in await everything(reader, topic):
        found[row.key or b""].append(int(row.value or b""))
    await reader.stop()
    for name, numbers_ in acknowledged.items():
        first_time = list(dict.fromkeys(found[name]))
        assert first_time == sorted(first_time), f"{name!r}: out of order"
        assert first_time[: len(numbers_)] == numbers_, f"{name!r}: lost"


async def test_an_append_made_while_kafka_is_away_passes_when_it_is_back(
    own_kafka: LocalServer,
) -> None:
    bootstrap = _address(own_kafka)
    topic = await make_topic(KafkaTopics(bootstrap), uuid.uuid4().hex)
    writer, reader = KafkaWriter(bootstrap, SystemClock()), KafkaReader(bootstrap)
    await writer.append(numbered(topic, 0, 1))
    await _kill(own_kafka)

    async def until_it_passes(row: Outgoing) -> None:
        while True:
            try:
                await writer.append([row])
            except LogUnavailable:
                await asyncio.sleep(0.05)
            else:
                return

    waiting = asyncio.create_task(until_it_passes(Outgoing(topic, b"k", b"1")))
    await own_kafka.start()
    await asyncio.wait_for(waiting, 60)
    found = await numbers(reader, topic)
    assert list(dict.fromkeys(found)) == [0, 1]
    await writer.stop()
    await reader.stop()


async def test_a_reader_goes_on_when_kafka_is_back(own_kafka: LocalServer) -> None:
    bootstrap = _address(own_kafka)
    topic = await make_topic(KafkaTopics(bootstrap), uuid.uuid4().hex)
    writer, reader = KafkaWriter(bootstrap, SystemClock()), KafkaReader(bootstrap)
    await writer.append(numbered(topic, 0, 3))
    assert len(await reader.read(topic, 0, 0, 1_000_000, 10_000)) == 3
    await _kill(own_kafka)
    with contextlib.suppress(LogUnavailable):
        assert await reader.read(topic, 0, 3, 1_000_000, 100) == []
    await own_kafka.start()
    await writer.append(numbered(topic, 3, 5))
    found: list[int] = []
    async with asyncio.timeout(60):
        while len(found) < 2:
            try:
                rows = await reader.read(topic, 0, 3 + len(found), 1_000_000, 500)
            except LogUnavailable:
                await asyncio.sleep(0.05)
                continue
            found += [int(row.value or b"") for row in rows]

    async def ends_are_told() -> bool:
        try:
            return (await reader.ends(topic))[0] == (0, 5)
        except LogUnavailable:
            return False

    await until(ends_are_told, "the ends are not told")
    assert found == [3, 4]
    await writer.stop()
    await reader.stop()


async def test_a_writer_stops_while_kafka_is_away_and_tells_its_callers(
    own_kafka: LocalServer,
) -> None:
    bootstrap = _address(own_kafka)
    topic = await make_topic(KafkaTopics(bootstrap), uuid.uuid4().hex)
    writer = KafkaWriter(bootstrap, SystemClock())
    await writer.append(numbered(topic, 0, 1))
    await _kill(own_kafka)
    waiting = [asyncio.create_task(writer.append(numbered(topic, i, i + 1))) for i in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(40):
        await writer.stop()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [LogUnavailable] * 5


async def test_lag_is_told_right_after_kafkas_start(own_kafka: LocalServer) -> None:
    """While the groups' coordinator is still loading."""
    bootstrap = _address(own_kafka)
    topic = await make_topic(KafkaTopics(bootstrap), uuid.uuid4().hex)
    admin, reader = KafkaTopics(bootstrap), KafkaReader(bootstrap)
    await reader.commit("group", topic, {0: 0})
    await reader.stop()
    await _kill(own_kafka)
    await own_kafka.start()
    async with asyncio.timeout(60):
        rows = await asyncio.gather(*(admin.lag("group", [topic]) for _ in range(10)))
    assert {row.committed for row, *_ in rows} == {0}
