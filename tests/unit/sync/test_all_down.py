"""All that is an edge's goes down to it when its store is new, or when the Cloud's was: once what
it had made before is in, and once in all."""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.clock import ManualClock
from edgeferry.core.store import (
    EdgeEventStore,
    Entity,
    EntityKey,
    EntityOrder,
    EntityStore,
    QueuedEvent,
    QueueEnds,
)
from edgeferry.log.change_codec import decode_change
from edgeferry.log.port import PartitionLag, Topics
from edgeferry.sync.all_down import AllDown, AllDownParts, Met
from edgeferry.sync.inbox import Inbox, Received
from edgeferry.sync.resume import Begin
from edgeferry.sync.snapshots import Snapshots
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader, MemoryWriter

pytestmark = pytest.mark.asyncio
CHANGES = "cloud.attribute-changes"
EDGE = "e1"


class _Entities:
    def __init__(self) -> None:
        self.rows = {
            (kind, id_): Entity(kind, id_, "t", id_, "default", 1, 1, "cloud", deleted=deleted)
            for kind, id_, deleted in (
                ("DEVICE", "d0", False),
                ("ASSET", "a0", False),
                ("EDGE", EDGE, False),
                ("DEVICE", "gone", True),
            )
        }

    async def assigned(
        self, edge_id: str, entity_type: str, limit: int, skip: int, *, order: EntityOrder
    ) -> tuple[Sequence[Entity], int]:
        assert edge_id == EDGE
        rows = [
            one for one in self.rows.values() if one.entity_type == entity_type and not one.deleted
        ]
        return rows[skip : skip + limit], len(rows)

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        return {key: self.rows[key] for key in keys if key in self.rows}


class _Queue:
    def __init__(self) -> None:
        self.events: list[EntityKey] = []

    async def ends(self, edge_id: str, lane: str) -> QueueEnds:
        return QueueEnds(0, len(self.events))

    async def read(
        self, edge_id: str, lane: str, seq: int, max_bytes: int
    ) -> Sequence[QueuedEvent]:
        return [
            QueuedEvent(lane, seq + at, 1, 1, "UPDATED", kind, kind, id_, "u", "", "", b"")
            for at, (kind, id_) in enumerate(self.events[seq : seq + 2])
        ]


class _Topics:
    """``behind``: how much of the chain's topic is not read."""

    def __init__(self) -> None:
        self.end, self.behind = 10, 0

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        done = self.end - self.behind
        return {
            group: [PartitionLag(topic, 0, done, 0, self.end) for topic in topics]
            for group, topics in readers.items()
        }


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.log.make(CHANGES, 1)
        self.log.make("cloud.cloud-events", 1)
        self.positions = MemoryPositions()
        self.entities, self.queue, self.topics = _Entities(), _Queue(), _Topics()
        self.restart()

    def restart(self) -> None:
        snapshots = Snapshots(
            site="cloud",
            tenant_id="t",
            origin="cloud",
            entities=cast(EntityStore, self.entities),
            writer=MemoryWriter(self.log),
            clock=self.clock,
        )
        parts = AllDownParts(
            snapshots=snapshots,
            positions=self.positions,
            queue=cast(EdgeEventStore, self.queue),
            topics=cast(Topics, self.topics),
            readers={"cloud.intake": ["x"], "cloud.attributes": [CHANGES]},
        )
        self.down = AllDown(parts)

    async def session(
        self, store: str, *, here: str = "cloud-1", end: int = 0, before: str = ""
    ) -> Inbox:
        received = Received(
            site="cloud",
            reader=MemoryReader(self.log),
            positions=self.positions,
            clock=self.clock,
        )
        inbox = Inbox(lane="cloud-events", edge_id=EDGE, stream="s", received=received)
        inbox.begin(Begin(1, 0, 0, ""))
        await self.down.meets(Met(EDGE, "north", store, before, 0, here, end, inbox))
        return inbox

    @property
    def sent(self) -> list[str]:
        found = []
        for record in self.log.records(CHANGES):
            change = decode_change(record.value)
            assert isinstance(change, EntityChange)
            assert (change.action, change.edge_id) == (EntityAction.SNAPSHOT, EDGE)
            found.append(change.entity_id)
        return sorted(found)


ALL = ["a0", "d0", EDGE]


def take(inbox: Inbox, upto: int) -> None:
    inbox.lane.granted(100)
    inbox.lane.take(1, inbox.lane.durable, upto, 1)
    inbox.lane.stored(upto, 1, b"")


async def test_an_edge_that_is_met_first_or_is_the_same_gets_nothing() -> None:
    world = World()
    for _ in range(2):
        await world.session("store-1")
        await world.down.look()
        world.restart()
    assert world.sent == []


async def test_an_edge_with_a_new_store_gets_all_that_is_its_own_once() -> None:
    world = World()
    await world.session("store-1")
    await world.session("store-2")
    assert world.down.under_way(EDGE)
    for _ in range(3):
        await world.down.look()
    assert world.sent == ALL
    assert not world.down.under_way(EDGE)
    world.restart()
    await world.session("store-2")
    await world.down.look()
    assert world.sent == ALL


async def test_a_cloud_of_an_earlier_version_knows_the_edge_by_its_lane_down() -> None:
    world = World()
    await world.session("store-2", before="store-1")
    world.restart()
    await world.session("store-2", before="store-2")
    await world.down.look()
    assert world.sent == ALL, "a kill before it was sent leaves it to be done"


async def test_what_the_edge_had_made_before_is_waited_for() -> None:
    world = World()
    await world.session("store-1")
    inbox = await world.session("store-2", end=5)
    await world.down.look()
    take(inbox, 4)
    await world.down.look()
    assert world.sent == []
    take(inbox, 5)
    world.topics.behind = 2
    await world.down.look()
    world.topics.end, world.topics.behind = 30, 20  # goes on, and has what was there then
    await world.down.look()
    assert world.sent == [], "it may be on its way through the chain"
    world.topics.behind = 0
    await world.down.look()
    await world.down.look()
    assert world.sent == ALL


async def test_a_chain_that_stands_still_does_not_keep_an_edge_without_its_entities() -> None:
    world = World()
    await world.session("store-1")
    await world.session("store-2")
    world.topics.behind = 2
    await world.down.look()
    world.clock.advance(299)
    await world.down.look()
    assert world.sent == []
    world.clock.advance(2)
    await world.down.look()
    assert world.sent == ALL


async def test_a_cloud_whose_store_was_new_sends_all_down_when_it_has_all_again() -> None:
    world = World()
    inbox = await world.session("store-1", here="cloud-2")
    await world.down.look()
    assert world.sent == [], "the edge has not said that all went up"
    inbox.all_below = 3
    await world.down.look()
    assert world.sent == []
    take(inbox, 3)
    await world.down.look()
    assert world.sent == ALL
    world.restart()
    inbox = await world.session("store-1", here="cloud-2")
    inbox.all_below = 3
    take(inbox, 3)
    await world.down.look()
    assert world.sent == ALL, "it says so in every session"


async def test_what_is_queued_about_an_entity_that_is_deleted_does_not_bring_it_back() -> None:
    world = World()
    world.queue.events = [("DEVICE", "d0"), ("DEVICE", "d0"), ("DEVICE", "gone")]
    await world.session("store-1")
    await world.session("store-2")
    await world.down.look()
    assert world.sent == sorted([*ALL, "gone"])
