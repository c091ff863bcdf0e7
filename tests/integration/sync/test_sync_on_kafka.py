"""Edge to Cloud on real Kafka, with TLS, the intake on the runner, SQLite positions."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from edgeferry.core.clock import SystemClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import RecordTooLarge
from edgeferry.core.events import CloudEvent
from edgeferry.core.ids import MessageIds, new_entity_id
from edgeferry.core.kv import TsPoint
from edgeferry.core.record import Outgoing, Record
from edgeferry.core.store import Store
from edgeferry.log.codec import (
    decode_dead_letter,
    decode_message,
    encode_cloud_event,
    encode_dead_letter,
)
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.limits import MAX_DEAD_LETTER_BYTES
from edgeferry.log.topics import chain_topics, root_topic, site_topics
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.settings import ListenSettings, StoreSettings, SyncSettings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.store import open_store
from edgeferry.streams.kafka_transport import KafkaTransport
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import Backoff, EdgeSync, EdgeSyncParts
from edgeferry.sync.edges import add_edge
from edgeferry.sync.inbox import Received
from edgeferry.sync.intake import Intake
from edgeferry.sync.lanes import UP
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.send_log import TopicLog
from edgeferry.sync.sessions import CloudSyncParts
from tests.foreign_headers import RawName, append_foreign
from tests.integration.log.topics_of_tests import limit_topic
from tests.unit.sync.links import until

EVENTS = 3000
_TEXT = "x" * 60_000
_PROBE = b"probe"
DEVICES = [new_entity_id() for _ in range(16)]


class Sites:
    """Both sites on one Kafka, told apart by their names."""

    def __init__(self, kafka: str, prefix: str, folder: Path, stores: Mapping[str, Store]) -> None:
        self.kafka = kafka
        self.folder = folder
        self.edge, self.cloud = f"{prefix}-edge", f"{prefix}-cloud"
        self.stores = stores
        self.clock = SystemClock()
        self.writer, self.reader = KafkaWriter(kafka, self.clock), KafkaReader(kafka)
        self.topics = KafkaTopics(kafka)
        tls = ensure_dev_authority(folder / "tls", self.clock)
        edge, secret = add_edge(folder / "edges.json", "one")
        self.edge_id = edge.id
        (folder / "secret").write_text(secret)
        self.cloud_settings = SyncSettings(
            listen=ListenSettings(port=0),
            cert_file=tls.cert,
            key_file=tls.key,
            edges_file=folder / "edges.json",
        )
        self.edge_settings = SyncSettings(
            address="127.0.0.1:0",
            ca_file=tls.ca,
            edge_key=edge.key,
            edge_secret_file=folder / "secret",
        )

    def received(self, site: str) -> Received:
        return Received(
            site=site,
            reader=self.reader,
            positions=self.stores[site].positions,
            clock=self.clock,
        )

    def new_writer(self) -> KafkaWriter:
        return KafkaWriter(self.kafka, self.clock)

    @asynccontextmanager
    async def cloud_runs(self) -> AsyncIterator[CloudSync]:
        sync = CloudSync(
            settings=self.cloud_settings,
            parts=CloudSyncParts(
                received=self.received(self.cloud), writer=self.new_writer, lag=lambda: 0
            ),
        )
        await sync.start()
        listen = ListenSettings(port=sync.port)
        self.cloud_settings = self.cloud_settings.model_copy(update={"listen": listen})
        self.edge_settings = self.edge_settings.model_copy(
            update={"address": f"127.0.0.1:{sync.port}"}
        )
        try:
            yield sync
        finally:
            await sync.stop()

    @asynccontextmanager
    async def edge_runs(self) -> AsyncIterator[EdgeSync]:
        positions = self.stores[self.edge].positions
        outboxes = [
            Outbox(
                lane=lane,
                log=TopicLog(
                    self.reader,
                    topic=f"{self.edge}.{lane}",
                    group=f"{self.edge}.sync",
                    topics=self.topics,
                ),
                positions=positions,
                stream=f"outbox/{lane}",
            )
            for lane in UP
        ]
        sync = EdgeSync(
            settings=self.edge_settings,
            parts=EdgeSyncParts(
                outboxes=outboxes,
                received=self.received(self.edge),
                writer=self.new_writer,
                backoff=Backoff(first=0.05, longest=0.5),
            ),
        )
        await sync.start()
        try:
            yield sync
        finally:
            await sync.stop()

    @asynccontextmanager
    async def intake_runs(self) -> AsyncIterator[Intake]:
        intake = Intake(
            site=self.cloud,
            tenant_id="tenant",
            reader=self.reader,
            positions=self.stores[self.cloud].positions,
            clock=self.clock,
        )
        runner = Runner(
            [intake],
            KafkaTransport(bootstrap=self.kafka, slot="one"),
            Environment(site=self.cloud, writer=self.writer, clock=self.clock),
            Metrics(CollectorRegistry()),
        )
        await runner.start()
        try:
            yield intake
        finally:
            await runner.stop()

    async def produce(self, lane: str, numbers: range, large: Container[int] = ()) -> None:
        ids = MessageIds()
        outgoing = []
        for number in numbers:
            device = DEVICES[number % len(DEVICES)]
            event = CloudEvent(
                id=ids.next(), created_time=number, stamp=number, tenant_id="tenant",
                action="TIMESERIES_UPDATED", type="DEVICE", entity_type="DEVICE",
                entity_id=device, entity_name="d", entity_profile="default",
                timeseries=[TsPoint(number, {"n": number, "s": _TEXT * (number in large)})],
            )  # fmt: skip
            topic = f"{self.edge}.{lane}"
            outgoing.append(Outgoing(topic, device.encode(), encode_cloud_event(event)))
        await self.writer.append(outgoing)

    async def root_records(self) -> list[Record]:
        return await self.records(root_topic(self.cloud))

    async def records(self, topic: str) -> list[Record]:
        found: list[Record] = []
        for partition, (start, end) in (await self.reader.ends(topic)).items():
            at = start
            while at < end:
                records = await self.reader.read(topic, partition, at, 8_000_000, 5000)
                found += records
                at = records[-1].offset + 1
        return found


@pytest_asyncio.fixture
async def sites(
    kafka: str, topic_prefix: str, topic_admin: KafkaTopics, tmp_path: Path
) -> AsyncIterator[Sites]:
    clock = SystemClock()
    edge, cloud = f"{topic_prefix}-edge", f"{topic_prefix}-cloud"
    topics = [
        *site_topics(edge, "edge"),
        *site_topics(cloud, "cloud"),
        *chain_topics([root_topic(cloud)], 4),
    ]
    await topic_admin.ensure(topics)
    stores = {
        name: open_store(settings=StoreSettings(), data=tmp_path / name, clock=clock)
        for name in (edge, cloud)
    }
    for name, store in stores.items():
        (tmp_path / name).mkdir()
        await store.start()
    sites = Sites(kafka, topic_prefix, tmp_path, stores)
    assert len(await sites.reader.ends(root_topic(cloud))) == 4
    yield sites
    await sites.reader.stop()
    await sites.writer.stop()
    for store in stores.values():
        await store.stop()


async def acked(edge: EdgeSync, offset: int) -> None:
    await until(lambda: edge.status().lanes["cloud-events-ts"].acked >= offset, 30)


@pytest.mark.asyncio
async def test_every_event_enters_the_clouds_chain_once_in_order_over_restarts(
    sites: Sites, topic_admin: KafkaTopics
) -> None:
    async with sites.cloud_runs():
        pass
    async with sites.edge_runs() as edge:
        for part in range(3):
            first, upto = part * EVENTS // 3, (part + 1) * EVENTS // 3
            async with sites.cloud_runs():
                await sites.produce("cloud-events-ts", range(first, upto))
                await acked(edge, (first + upto) // 2)
                async with sites.intake_runs():
                    await acked(edge, upto)
    assert edge.status().lost == 0
    await finish_intake(sites)
    records = await sites.root_records()
    by_key: dict[bytes | None, list[int]] = {}
    for record in records:
        number = json.loads(decode_message(record.value).data)["n"]
        by_key.setdefault(record.key, []).append(number)
    assert sorted(number for numbers in by_key.values() for number in numbers) == list(
        range(EVENTS)
    )
    assert all(numbers == sorted(numbers) for numbers in by_key.values())


async def finish_intake(sites: Sites) -> None:
    async with sites.intake_runs():
        seen = -1
        while seen < EVENTS:
            ends = await sites.reader.ends(root_topic(sites.cloud))
            seen = sum(end for _, end in ends.values())


@pytest.mark.asyncio
async def test_a_lost_checkpoint_is_completed_from_the_received_topic(sites: Sites) -> None:
    """As after a SIGKILL: the position kept is old, the received topic knows more."""
    positions = sites.stores[sites.cloud].positions
    name = f"sync/{sites.edge_id}/cloud-events-ts"
    async with sites.cloud_runs():
        async with sites.edge_runs() as edge:
            await sites.produce("cloud-events-ts", range(500))
            await acked(edge, 500)
        kept = await positions.load(name)
        assert kept is not None
        before = json.loads(kept.detail)
        empty = {**before, "closed": False, "seen": 0, "last": "", "ends": {}}
        await positions.save(name, kept._replace(offset=0, detail=json.dumps(empty)))
        async with sites.edge_runs() as edge:
            await acked(edge, 500)
            await sites.produce("cloud-events-ts", range(500, 600))
            await acked(edge, 600)
    ends = await sites.reader.ends(f"{sites.cloud}.cloud-events-ts")
    assert sum(end for _, end in ends.values()) == 600


@pytest.mark.asyncio
async def test_an_event_reaches_the_received_topic_within_milliseconds(sites: Sites) -> None:
    async with sites.cloud_runs(), sites.edge_runs() as edge:
        await until(lambda: edge.status().connected, 30)
        seconds = []
        for number in range(30):
            await sites.produce("cloud-events-ts", range(number, number + 1))
            began = sites.clock.monotonic()
            await acked(edge, number + 1)
            seconds.append(sites.clock.monotonic() - began)
    assert sorted(seconds)[len(seconds) // 2] < 0.1


@pytest.mark.asyncio
async def test_records_of_foreign_writers_stop_neither_the_link_nor_the_intake(
    sites: Sites, kafka: str
) -> None:
    lane = "cloud-events-ts"
    await append_foreign(
        kafka, f"{sites.edge}.{lane}", [("null", None)], [(RawName(b"h\xff"), b"1")]
    )
    await append_foreign(
        kafka,
        f"{sites.cloud}.{lane}",
        [("edge", b"e\xff"), ("epoch", b"1"), ("offset", b"1")],
        [("edge", None), ("epoch", None), ("offset", None)],
    )
    await sites.produce(lane, range(EVENTS))
    async with sites.cloud_runs(), sites.edge_runs() as edge:
        await acked(edge, EVENTS + 2)
    await finish_intake(sites)
    dead = 0
    async with asyncio.timeout(30), sites.intake_runs():
        while dead < 4:
            ends = await sites.reader.ends(f"{sites.cloud}.dead-letters")
            dead = sum(end for _, end in ends.values())
    assert dead == 4


async def limited(sites: Sites, topic: str, limit: int) -> None:
    """Return when the broker goes by it; until then it may take what has the key ``_PROBE``."""
    await asyncio.to_thread(limit_topic, sites.kafka, topic, limit)
    letter = DeadLetter(_PROBE, None, (), "", 0, 0, "", "", "", "", "x" * limit, 0, 0, 0)
    async with asyncio.timeout(30):
        with contextlib.suppress(RecordTooLarge):
            while True:
                await sites.writer.append([Outgoing(topic, _PROBE, encode_dead_letter(letter))])


@pytest.mark.asyncio
async def test_events_above_the_limit_of_the_receiving_topic_become_dead_letters(
    sites: Sites,
) -> None:
    lane, large = "cloud-events-ts", (3, 40, 41, 99)
    for topic in (f"{sites.cloud}.{lane}", f"{sites.cloud}.dead-letters"):
        await limited(sites, topic, 50_000)
    await sites.produce(lane, range(EVENTS // 2), large)
    async with sites.cloud_runs(), sites.edge_runs() as edge:
        await acked(edge, EVENTS // 2)
        await sites.produce(lane, range(EVENTS // 2, EVENTS))
        await acked(edge, EVENTS)
    await asyncio.to_thread(  # the intake's of the probes
        limit_topic, sites.kafka, f"{sites.cloud}.dead-letters", MAX_DEAD_LETTER_BYTES
    )
    async with asyncio.timeout(30), sites.intake_runs():
        while len(await sites.root_records()) < EVENTS - len(large):
            await asyncio.sleep(0.1)
    numbers = [json.loads(decode_message(r.value).data)["n"] for r in await sites.root_records()]
    assert sorted(numbers) == [number for number in range(EVENTS) if number not in large]
    records = await sites.records(f"{sites.cloud}.dead-letters")
    decoded = [decode_dead_letter(record.value) for record in records if record.key != _PROBE]
    letters = [letter for letter in decoded if letter.key != _PROBE]
    assert sorted(letter.offset for letter in letters) == list(large)
    assert {letter.value for letter in letters} == {None}
    assert all("event of 60" in letter.error_text for letter in letters)
