"""All that stands at an Edge goes up to a Cloud whose store is new: once, also after kills."""

from typing import cast

import pytest

from edgeferry.core.changes import WHOLE_SNAPSHOT, EntityChange
from edgeferry.core.store import EntityStore
from edgeferry.log.change_codec import decode_change
from edgeferry.log.port import GroupReader
from edgeferry.runtime.settings import OutboxLaneSettings
from edgeferry.sync.all_up import AllUp, AllUpParts
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.sync.resume import Want
from edgeferry.sync.snapshots import Snapshots
from tests.unit.sync.fakes import MemoryReader, MemoryWriter
from tests.unit.sync.test_outbox import TOPIC, Bench
from tests.unit.sync.test_sent_again import CHANGES, Entities

pytestmark = pytest.mark.asyncio


class World:
    def __init__(self, devices: int = 3) -> None:
        self.bench = Bench()
        self.bench.log.make(CHANGES, 2)
        self.entities = Entities(devices)
        self.reader = MemoryReader(self.bench.log)
        self.restart()

    def restart(self) -> None:
        bench = self.bench
        bench.outbox = bench.anew()
        snapshots = Snapshots(
            site="edge",
            tenant_id="t",
            origin="edge:k",
            entities=cast(EntityStore, self.entities),
            writer=MemoryWriter(bench.log),
            clock=bench.clock,
        )
        parts = AllUpParts(
            snapshots=snapshots,
            positions=bench.positions,
            reader=cast(GroupReader, self.reader),
            owner="edge.attributes",
        )
        caps = OutboxLaneSettings(max_events=2000)
        self.up = AllUp(WatchedLane("general", bench.outbox, caps), parts)

    async def session(self, cloud: str) -> None:
        await self.bench.outbox.offer()
        await self.up.meets(cloud)
        await self.bench.begin(Want(0, 0, 0), cloud)

    async def owner_is_through(self) -> None:
        ends = await self.reader.ends(CHANGES)
        offsets = {partition: one.end for partition, one in ends.items()}
        await self.reader.commit("edge.attributes", CHANGES, offsets)

    def busy(self) -> bool:
        return self.up.under_way

    def told(self) -> int | None:
        return self.bench.outbox.all_below

    @property
    def wished(self) -> list[str]:
        found = []
        for record in self.bench.log.records(CHANGES):
            change = decode_change(record.value)
            assert isinstance(change, EntityChange)
            assert change.body == WHOLE_SNAPSHOT
            found.append(change.entity_id)
        return sorted(found)


async def test_nothing_goes_up_to_a_cloud_that_is_met_first_or_is_the_same() -> None:
    world = World()
    for _ in range(2):
        await world.session("cloud-1")
        await world.up.look()
        world.restart()
    assert world.wished == []
    assert world.told() is None


async def test_all_goes_up_to_a_cloud_whose_store_is_new_and_it_is_told_below_what() -> None:
    world = World()
    await world.session("cloud-1")
    await world.session("cloud-2")
    assert world.busy()
    await world.up.look()
    assert world.wished == ["d0", "d1", "d2"]
    await world.up.look()
    assert world.told() is None, "the owner of changes has not made the events yet"
    world.bench.produce(9)
    await world.owner_is_through()
    await world.up.look()
    assert world.told() == 9
    assert not world.busy()
    world.restart()
    await world.session("cloud-2")
    await world.up.look()
    assert len(world.wished) == 3
    assert world.told() == 9, "it is told until the Cloud has heard it"


async def test_a_store_of_an_earlier_version_knows_the_cloud_by_its_lane() -> None:
    world = World()
    await world.bench.begin(Want(0, 0, 0), "cloud-1")
    world.restart()
    await world.session("cloud-2")
    await world.up.look()
    assert len(world.wished) == 3


async def test_a_pass_that_was_killed_begins_again() -> None:
    world = World(devices=150)
    await world.session("cloud-1")
    await world.session("cloud-2")
    await world.up.look()
    assert len(world.wished) == 100
    world.restart()
    await world.session("cloud-2")
    await world.up.look()
    await world.up.look()
    await world.owner_is_through()
    await world.up.look()
    assert len({*world.wished}) == 150
    assert not world.busy()


async def test_a_cloud_that_loses_its_store_again_meanwhile_gets_all_once_more() -> None:
    world = World(devices=150)
    await world.session("cloud-1")
    await world.session("cloud-2")
    await world.up.look()
    await world.session("cloud-3")
    for _ in range(2):
        await world.up.look()
    await world.owner_is_through()
    await world.up.look()
    assert len(world.wished) == 250
    assert not world.busy()


async def test_offsets_are_told_anew_for_a_log_that_was_moved() -> None:
    world = World()
    await world.session("cloud-1")
    await world.session("cloud-2")
    world.bench.produce(9)
    await world.up.look()
    await world.owner_is_through()
    await world.up.look()
    world.bench.log.make(TOPIC, 1)
    world.bench.topics.incarnation = "another"
    world.bench.produce(2)
    world.restart()
    await world.session("cloud-2")
    assert world.told() == 2
