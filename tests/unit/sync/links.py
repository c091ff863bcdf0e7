"""An Edge and a Cloud joined by real gRPC over TLS on loopback; logs and stores in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.runtime.settings import ListenSettings, SyncSettings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import Backoff, EdgeSync, EdgeSyncParts
from edgeferry.sync.edges import Edge, add_edge
from edgeferry.sync.inbox import Received
from edgeferry.sync.lanes import UP
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.recovery import origin_of
from edgeferry.sync.send_log import TopicLog
from edgeferry.sync.sessions import CloudSyncParts, no_lanes_down
from tests.unit.sync.fakes import (
    MemoryLog,
    MemoryPositions,
    MemoryReader,
    MemoryTopics,
    MemoryWriter,
)

FAST = Backoff(first=0.02, longest=0.1)
TOPICS = ("cloud-events", "cloud-events-ts", "edge-events", "edge-events-ts", "dead-letters")


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait for a condition with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


class Site:
    """What survives its processes: a log and positions."""

    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.clock = SystemClock()
        self.log = MemoryLog(self.clock)
        self.reader = MemoryReader(self.log)
        self.topics = MemoryTopics(self.log)
        self.positions = MemoryPositions()
        self.max_record_bytes = 1_000_000
        self.limits: dict[str, int] = {}
        self.dead_lettered: list[str] = []
        self.writers: list[MemoryWriter] = []
        for topic in TOPICS:
            self.log.make(f"{name}.{topic}", partitions)

    def writer(self) -> MemoryWriter:
        self.writers.append(MemoryWriter(self.log, self.max_record_bytes, self.limits))
        return self.writers[-1]

    def received(self) -> Received:
        return Received(
            site=self.name,
            reader=self.reader,
            positions=self.positions,
            clock=self.clock,
            dead_lettered=self.dead_lettered.append,
            committed=lambda topic: self.reader.committed("handler", topic),
        )

    async def handle(self, lane: str) -> None:
        """All that was received is handed on."""
        topic = f"{self.name}.{lane}"
        ends = await self.reader.ends(topic)
        offsets = {partition: ends[partition].end for partition in ends}
        await self.reader.commit("handler", topic, offsets)

    def outbox(self, lane: str) -> Outbox:
        log = TopicLog(
            self.reader,
            topic=f"{self.name}.{lane}",
            group=f"{self.name}.sync",
            topics=self.topics,
        )
        return Outbox(lane=lane, log=log, positions=self.positions, stream=f"outbox/{lane}")

    def produce(self, lane: str, numbers: Sequence[int], keys: int = 4) -> None:
        for number in numbers:
            headers = [("origin", self.name.encode())]
            key, value = b"k%d" % (number % keys), b"\0\0\0\0\2event %d" % number
            self.log.add(Outgoing(f"{self.name}.{lane}", key, value, headers))


class Pair:
    """Settings and durable state of both sites; starts either as often as it is told."""

    def __init__(self, folder: Path) -> None:
        tls = ensure_dev_authority(folder / "tls", SystemClock())
        edges_file, secret_file = folder / "edges.json", folder / "secret"
        self.edge_record, secret = add_edge(edges_file, "edge-one")
        secret_file.write_text(secret)
        self.edge = Site("edge", 1)
        self.cloud = Site("cloud", 3)
        self.lag = 0
        self.full = ""
        self.down: Callable[[str], Sequence[Outbox]] = no_lanes_down
        self.cloud_settings = SyncSettings(
            listen=ListenSettings(port=0),
            cert_file=tls.cert,
            key_file=tls.key,
            edges_file=edges_file,
        )
        self.edge_settings = SyncSettings(
            ca_file=tls.ca,
            edge_key=self.edge_record.key,
            edge_secret_file=secret_file,
            address="127.0.0.1:0",
        )

    def cloud_parts(self) -> CloudSyncParts:
        return CloudSyncParts(
            received=self.cloud.received(),
            writer=self.cloud.writer,
            lag=lambda: self.lag,
            full=lambda: self.full,
            down=self.down,
        )

    def edge_parts(self) -> EdgeSyncParts:
        return EdgeSyncParts(
            outboxes=[self.edge.outbox(lane) for lane in UP],
            received=self.edge.received(),
            writer=self.edge.writer,
            backoff=FAST,
        )

    @asynccontextmanager
    async def cloud_runs(self) -> AsyncIterator[CloudSync]:
        sync = CloudSync(settings=self.cloud_settings, parts=self.cloud_parts())
        await sync.start()
        listen = ListenSettings(port=sync.port)  # the same one after a restart
        self.cloud_settings = self.cloud_settings.model_copy(update={"listen": listen})
        self.edge_settings = self.edge_settings.model_copy(
            update={"address": f"127.0.0.1:{sync.port}"}
        )
        try:
            yield sync
        finally:
            await sync.stop()

    @asynccontextmanager
    async def edge_runs(self, parts: EdgeSyncParts | None = None) -> AsyncIterator[EdgeSync]:
        sync = EdgeSync(settings=self.edge_settings, parts=parts or self.edge_parts())
        await sync.start()
        try:
            yield sync
        finally:
            await sync.stop()

    def arrived(self, lane: str = "cloud-events") -> list[int]:
        """Numbers of the events in the received topic, repeats included, sorted."""
        records = self.cloud.log.records(f"cloud.{lane}")
        return sorted(int((record.value or b"").split()[-1]) for record in records)

    def arrived_by_key(self, lane: str = "cloud-events") -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for record in self.cloud.log.records(f"cloud.{lane}"):
            numbers = found.setdefault(record.key or b"", [])
            numbers.append(int((record.value or b"").split()[-1]))
        return found

    def offsets(self, lane: str = "cloud-events") -> list[int]:
        origins = (origin_of(record.headers) for record in self.cloud.log.records(f"cloud.{lane}"))
        return sorted(origin.offset for origin in origins if origin is not None)


def other_edge(pair: Pair, name: str) -> tuple[Edge, str]:
    assert pair.cloud_settings.edges_file is not None
    return add_edge(pair.cloud_settings.edges_file, name)
