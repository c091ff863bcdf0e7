"""A gateway over the real Kafka, with a devices file, on a free port."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest_asyncio
from prometheus_client import CollectorRegistry

from edgeferry.core.clock import Stamps, SystemClock
from edgeferry.core.ids import DEFAULT_TENANT_ID, MessageIds, new_entity_id, new_token
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.devices import Device
from edgeferry.gateway.metrics import PrometheusGatewayMetrics
from edgeferry.gateway.server import Gateway
from edgeferry.log.codec import decode_message
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import chain_topics, root_topic, site_topic, site_topics
from edgeferry.runtime.settings import LimitSettings
from tests.unit.gateway.fakes import FixedDevices


@dataclass(frozen=True)
class Site:
    """What a test sees of a gateway: where it is, its device, and the records it made."""

    name: str
    gateway: Gateway
    device: Device
    devices: FixedDevices
    reader: KafkaReader

    @property
    def port(self) -> int:
        return int(self.gateway.address.rpartition(":")[2])

    async def records(self, topic: str) -> list[Record]:
        """All records of a topic, in order per partition."""
        found: list[Record] = []
        for partition, (start, end) in (await self.reader.ends(topic)).items():
            offset = start
            while offset < end:
                more = await self.reader.read(topic, partition, offset, 1_000_000, 5_000)
                found += more
                offset += len(more)
        return found

    async def messages(self) -> list[RuleMessage]:
        return [decode_message(r.value) for r in await self.records(root_topic(self.name))]

    async def dead_letters(self) -> list[Record]:
        return await self.records(site_topic(self.name, "dead-letters"))


@pytest_asyncio.fixture
async def site(kafka: str, topic_admin: KafkaTopics, topic_prefix: str) -> AsyncIterator[Site]:
    topics = [t for t in site_topics(topic_prefix, "edge") if t.name.endswith("dead-letters")]
    await topic_admin.ensure([*topics, *chain_topics([root_topic(topic_prefix)])])
    device = Device("pump-1", new_entity_id(), "pump", new_token())
    devices = FixedDevices(device)
    clock = SystemClock()
    writer, reader = KafkaWriter(kafka, clock), KafkaReader(kafka)
    context = GatewayContext(
        site=topic_prefix,
        tenant_id=DEFAULT_TENANT_ID,
        writer=writer,
        devices=devices,
        clock=clock,
        stamps=Stamps(clock.now_ms),
        ids=MessageIds(),
        limits=LimitSettings(),
        metrics=PrometheusGatewayMetrics(CollectorRegistry()),
    )
    gateway = Gateway(context, port=0)
    await writer.start()
    await reader.start()
    await gateway.start()
    yield Site(topic_prefix, gateway, device, devices, reader)
    await gateway.stop()
    await reader.stop()
    await writer.stop()
