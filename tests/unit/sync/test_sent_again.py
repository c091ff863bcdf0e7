"""After a drop, what is current goes up again: once, when the Cloud is there and has room."""

from collections.abc import Sequence
from typing import cast

import pytest

from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.store import Entity, EntityOrder, EntityStore
from edgeferry.log.change_codec import decode_change
from edgeferry.runtime.settings import OutboxLaneSettings
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.sync.resume import Want
from edgeferry.sync.sent_again import SentAgain
from edgeferry.sync.snapshots import Snapshots
from tests.unit.sync.fakes import MemoryWriter
from tests.unit.sync.test_outbox import Bench

pytestmark = pytest.mark.asyncio
CHANGES = "edge.attribute-changes"


class Entities:
    def __init__(self, count: int) -> None:
        self._rows = [
            Entity("DEVICE", f"d{number}", "t", f"pump-{number}", "default", 1, 1, "edge:k")
            for number in range(count)
        ]

    async def page(
        self, tenant_id: str, entity_type: str, limit: int, skip: int, *, order: EntityOrder
    ) -> tuple[Sequence[Entity], int]:
        rows = self._rows if entity_type == "DEVICE" else []
        return rows[skip : skip + limit], len(rows)


class World:
    def __init__(self, *, devices: int = 3, events: int = 100) -> None:
        self.bench = Bench()
        self.bench.log.make(CHANGES, 1)
        self.entities = Entities(devices)
        self.caps = OutboxLaneSettings(policy="drop_oldest", max_events=events)
        self.again = self.anew()

    def anew(self) -> SentAgain:
        """As after a restart."""
        bench = self.bench
        snapshots = Snapshots(
            site="edge",
            tenant_id="t",
            origin="edge:k",
            entities=cast(EntityStore, self.entities),
            writer=MemoryWriter(bench.log),
            clock=bench.clock,
        )
        lane = WatchedLane("general", bench.outbox, self.caps)
        return SentAgain(lane, snapshots, bench.positions)

    async def drop(self, below: int) -> None:
        await self.bench.outbox.drop(below)

    @property
    def wished(self) -> list[str]:
        found = []
        for record in self.bench.log.records(CHANGES):
            change = decode_change(record.value)
            assert isinstance(change, EntityChange)
            assert (change.action, change.origin) == (EntityAction.SNAPSHOT, "edge:k")
            found.append(change.entity_id)
        return found


async def test_nothing_is_sent_again_where_nothing_was_dropped() -> None:
    world = World()
    world.bench.produce(10)
    await world.bench.begin(Want(0, 0, 0))
    await world.again.look()
    assert world.wished == []


async def test_after_a_drop_all_entities_go_up_once_when_the_cloud_is_there() -> None:
    world = World()
    world.bench.produce(40)
    await world.drop(10)
    await world.again.look()
    assert world.wished == [], "nobody is there to take it"
    await world.bench.begin(Want(0, 0, 0))
    await world.again.look()
    assert world.wished == ["d0", "d1", "d2"]
    await world.again.look()
    await world.anew().look()
    assert len(world.wished) == 3
    await world.drop(20)
    await world.again.look()
    assert len(world.wished) == 6


async def test_a_full_lane_is_waited_for_and_filled_in_parts() -> None:
    world = World(devices=12, events=100)
    world.bench.produce(95)
    await world.drop(5)
    lane = await world.bench.begin(Want(0, 0, 0))
    await world.again.look()
    assert world.wished == []
    lane.sent(90, 100, b"", 0)
    lane.ack(lane.epoch, 90)
    for parts in (5, 10, 12, 12):
        await world.again.look()
        assert len(world.wished) == parts
    assert len({*world.wished}) == 12
