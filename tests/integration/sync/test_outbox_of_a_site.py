"""An Edge that works alone, on each log: caps, drops counted at both ends, flat memory."""

import gc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from edgeferry.core.admission import Admission
from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka_log import KafkaLog
from edgeferry.log.port import Log
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import site_topic, site_topics
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.settings import Settings
from edgeferry.sync.edge import EdgeSync, EdgeSyncParts
from edgeferry.sync.lanes import TELEMETRY_UP
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.outbox_watch import OutboxWatch, WatchParts
from edgeferry.tools.site_outbox import outbox_watch, outboxes
from tests.unit.sync.fakes import MemoryLog, MemoryPositions
from tests.unit.sync.links import FAST, Pair, until

pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024
HEADERS = [("origin", b"edge")]


@pytest_asyncio.fixture(params=["sqlite", "kafka"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    made: Log
    if request.param == "sqlite":
        made = SqliteLog(folder=tmp_path / "edge", clock=SystemClock())
    else:
        bootstrap: str = request.getfixturevalue("kafka")
        made = KafkaLog(bootstrap=bootstrap, replication=1, clock=SystemClock())
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def edge(log: Log, tmp_path: Path, request: pytest.FixtureRequest) -> "Edge":
    site = "edge.one"
    if log.kind == "kafka":
        site = str(request.getfixturevalue("topic_prefix"))
    await log.topics.ensure(site_topics(site, "edge"))
    return Edge(site, log, Pair(tmp_path))


class Edge:
    """Its log is real; the Cloud's is in memory."""

    def __init__(self, site: str, log: Log, pair: Pair) -> None:
        self.site = site
        self.log = log
        self.pair = pair
        self.positions = MemoryPositions()
        self.admission = Admission()
        self.topic = site_topic(site, TELEMETRY_UP)

    def lanes(self) -> Sequence[Outbox]:
        settings = Settings.model_construct(site=self.site)
        return outboxes(settings, self.log, self.positions)

    def watch(self, lanes: Sequence[Outbox], **telemetry: object) -> OutboxWatch:
        settings = Settings.model_validate({"sync": {"outbox": {"telemetry": telemetry}}})
        parts = WatchParts(
            admission=self.admission,
            clock=SystemClock(),
            metrics=Metrics(CollectorRegistry()),
        )
        return outbox_watch(settings, lanes, parts)

    def sync(self, lanes: Sequence[Outbox]) -> EdgeSync:
        parts = EdgeSyncParts(
            outboxes=lanes,
            received=self.pair.edge.received(),
            writer=self.log.new_writer,
            backoff=FAST,
        )
        return EdgeSync(settings=self.pair.edge_settings, parts=parts)

    async def produce(self, first: int, upto: int, step: int = 5000) -> None:
        for at in range(first, upto, step):
            await self.log.writer.append(
                [
                    Outgoing(self.topic, b"k%d" % (n % 4), b"\0\0\0\0\2event %09d" % n, HEADERS)
                    for n in range(at, min(at + step, upto))
                ]
            )


def acked(sync: EdgeSync) -> int:
    return sync.status().lanes[TELEMETRY_UP].acked


async def test_what_is_dropped_alone_and_in_a_session_is_what_the_cloud_counts_as_lost(
    edge: Edge,
) -> None:
    lanes = edge.lanes()
    telemetry = lanes[1]
    watch = edge.watch(lanes, max_events=1000)
    await edge.produce(0, 3000)
    await watch.look()
    assert watch.looks[TELEMETRY_UP].figures[:2] == (2050, 3000)
    async with edge.pair.cloud_runs() as cloud:
        sync = edge.sync(lanes)
        await sync.start()
        try:
            await until(lambda: acked(sync) == 3000, 30)
            assert edge.pair.arrived(TELEMETRY_UP) == list(range(2050, 3000))
            session = telemetry.session
            edge.pair.lag = 60_000
            await until(lambda: session is not None and not session.open)
            await edge.produce(3000, 3010)  # of a read that was under way when it was held back
            await until(lambda: acked(sync) == 3010, 30)
            await edge.produce(3010, 5000)
            await watch.look()
            edge.pair.lag = 0
            await until(lambda: acked(sync) == 5000, 30)
            assert telemetry.session is session
        finally:
            await sync.stop()
        (status,) = await cloud.edges()
    (lost,) = [lane.lost for lane in status.lanes if lane.lane == TELEMETRY_UP]
    assert lost == 5000 - len(edge.pair.arrived(TELEMETRY_UP)) == 2050 + 1040
    assert (await edge.lanes()[1].figures()).dropped == lost == sync.status().lost


async def test_bytes_are_told_as_they_are_or_as_they_are_reckoned(edge: Edge) -> None:
    await edge.produce(0, 20_000)
    (_, telemetry) = edge.lanes()
    one = len(b"k0") + len(b"\0\0\0\0\2event 000000000") + len("origin") + len(b"edge")
    found = await telemetry.figures()
    assert found.measured == (edge.log.kind == "sqlite")
    assert found.bytes == pytest.approx(20_000 * one, rel=0.1)


async def test_a_cap_of_bytes_is_kept(edge: Edge) -> None:
    lanes = edge.lanes()
    await edge.produce(0, 5000)
    whole = (await lanes[1].figures()).bytes
    watch = edge.watch(lanes, max_bytes=whole // 2)
    await watch.look()
    held = watch.looks[TELEMETRY_UP].figures
    assert held.bytes == pytest.approx(0.95 * whole / 2, rel=0.05)
    assert held.dropped == 5000 - held.depth


class Counting(MemoryLog):
    """Counts what is added and keeps nothing of it."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.added = 0

    def add(self, outgoing: Outgoing) -> None:
        self.added += 1


@pytest.mark.parametrize("log", ["sqlite"], indirect=True)
async def test_memory_stays_flat_while_200_000_events_wait_and_while_they_drain(
    edge: Edge,
) -> None:
    counting = Counting()
    counting.partitions = edge.pair.cloud.log.partitions
    edge.pair.cloud.log = edge.pair.cloud.reader.log = counting
    lanes = edge.lanes()
    watch = edge.watch(lanes, policy="refuse_new")
    process = psutil.Process()
    await edge.produce(0, 20_000)
    await watch.look()
    gc.collect()
    before = process.memory_info().rss
    most = before
    for first in range(20_000, 200_000, 20_000):
        await edge.produce(first, first + 20_000)
        await watch.look()
        most = max(most, process.memory_info().rss)
    assert watch.looks[TELEMETRY_UP].figures.depth == 200_000
    assert most - before < 24 * MIB
    async with edge.pair.cloud_runs():
        sync = edge.sync(lanes)
        await sync.start()
        try:
            await until(lambda: acked(sync) > 20_000, 60)
            gc.collect()
            before = most = process.memory_info().rss

            def drained() -> bool:
                nonlocal most
                most = max(most, process.memory_info().rss)
                return acked(sync) == 200_000

            await until(drained, 120)
        finally:
            await sync.stop()
    assert counting.added == 200_000
    assert most - before < 24 * MIB
