"""The intake as a processor: once each, dead letters, memory over restarts."""

import json
from collections.abc import Sequence

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable, StoreUnavailable, Undecodable
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import TsPoint
from edgeferry.core.record import Headers, Outgoing, Record
from edgeferry.log.codec import (
    decode_cloud_event,
    decode_message,
    encode_cloud_event,
    encode_edge_event,
)
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.sync.intake import Intake
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader

TOPIC = "cloud.cloud-events-ts"
AT = TopicPartition(TOPIC, 0)
EDGE = b"00000000-0000-1000-8000-00000000000a"


class World:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.log.make(TOPIC, 1)
        self.reader = MemoryReader(self.log)
        self.positions = MemoryPositions()

    def intake(self) -> Intake:
        return Intake(
            site="cloud",
            tenant_id="tenant",
            reader=self.reader,
            positions=self.positions,
            clock=self.clock,
        )

    def receive(self, *numbers: int, epoch: int = 1) -> list[Record]:
        """Append events of the Edge's log with these offsets; the records."""
        before = len(self.log.records(TOPIC))
        for number in numbers:
            headers = [("edge", EDGE), ("epoch", b"%d" % epoch), ("offset", b"%d" % number)]
            self.log.add(Outgoing(TOPIC, b"k", event(number), headers))
        return self.log.records(TOPIC)[before:]


def event(number: int) -> bytes:
    return encode_cloud_event(
        CloudEvent(
            id=f"e-{number}", created_time=1, stamp=1, tenant_id="t", action="TIMESERIES_UPDATED",
            type="DEVICE", entity_type="DEVICE", entity_id="d", entity_name="", entity_profile="",
            timeseries=[TsPoint(number, {"n": number})],
        )
    )  # fmt: skip


async def passed(intake: Intake, records: Sequence[Record], *, delivered: bool = True) -> list[int]:
    outputs = Outputs()
    await intake.process(records, outputs)
    if delivered:
        await intake.delivered(records)
    return [json.loads(decode_message(record.value).data)["n"] for record in outputs.records]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.asyncio
async def test_each_event_enters_the_chain_once(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    assert await passed(intake, world.receive(0, 1, 2)) == [0, 1, 2]
    assert await passed(intake, world.receive(1, 2, 3)) == [3]
    assert intake.repeats == 2


@pytest.mark.asyncio
async def test_equal_events_are_not_merged(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    first, second = world.receive(0, 1)
    assert await passed(intake, [first, second._replace(value=first.value)]) == [0, 0]


@pytest.mark.asyncio
async def test_a_batch_that_was_not_delivered_passes_again(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    records = world.receive(0, 1, 1)
    assert await passed(intake, records, delivered=False) == [0, 1]
    assert await passed(intake, records) == [0, 1]


@pytest.mark.asyncio
async def test_a_restart_without_a_checkpoint_rebuilds_from_the_headers(world: World) -> None:
    first = world.intake()
    await first.assigned({AT: 0})
    await passed(first, world.receive(0, 1, 2))
    second = world.intake()
    await second.assigned({AT: 3})
    assert await passed(second, world.receive(2, 3)) == [3]


@pytest.mark.asyncio
async def test_a_checkpoint_is_kept_every_few_seconds_and_completed_from_the_log(
    world: World,
) -> None:
    first = world.intake()
    await first.assigned({AT: 0})
    await passed(first, world.receive(0, 1))
    world.clock.advance(10)
    await passed(first, world.receive(2))
    (position,) = world.positions.saved.values()
    assert (position.offset, json.loads(position.detail)) == (3, {EDGE.decode(): [1, 2]})
    await passed(first, world.receive(3, 4))
    world.log.trim(TOPIC, 0, 3)
    second = world.intake()
    await second.assigned({AT: 5})
    assert await passed(second, world.receive(4, 5)) == [5]


@pytest.mark.asyncio
async def test_a_checkpoint_ahead_of_the_committed_offset_drops_what_was_delivered(
    world: World,
) -> None:
    first = world.intake()
    await first.assigned({AT: 0})
    world.clock.advance(10)
    records = world.receive(0, 1)
    await passed(first, records)
    second = world.intake()
    await second.assigned({AT: 0})
    assert await passed(second, records) == []


@pytest.mark.asyncio
async def test_what_cannot_be_read_is_dead_and_the_rest_goes_on(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    records = world.receive(0, 1, 2)
    records[1] = records[1]._replace(value=b"junk")
    outputs = Outputs()
    await intake.process(records, outputs)
    assert len(outputs.records) == 2
    assert [dead.record for dead in outputs.dead] == [records[1]]
    assert isinstance(outputs.dead[0].error, Undecodable)


@pytest.mark.parametrize(
    "headers",
    [
        [("edge", b"e\xff"), ("epoch", b"1"), ("offset", b"1")],
        [("edge", b"one"), ("epoch", b"1"), ("offset", b"1")],
        [("edge", EDGE), ("epoch", b"1_0"), ("offset", b"1")],
        [("edge", EDGE), ("epoch", b"1"), ("offset", b"-1")],
        [("edge", EDGE), ("epoch", b"1"), ("offset", b"9" * 5_000)],
        [("edge", EDGE), ("epoch", b""), ("offset", b"")],
    ],
)
@pytest.mark.asyncio
async def test_what_no_link_has_written_is_dead_and_remembered_by_nobody(
    world: World, headers: Headers
) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    records = world.receive(0, 1, 2)
    records[1] = records[1]._replace(headers=headers)
    outputs = Outputs()
    await intake.process(records, outputs)
    assert len(outputs.records) == 2
    assert [dead.record for dead in outputs.dead] == [records[1]]
    world.clock.advance(10)
    await intake.delivered(records)
    (position,) = world.positions.saved.values()
    assert json.loads(position.detail) == {EDGE.decode(): [1, 2]}


@pytest.mark.asyncio
async def test_a_replayed_record_without_the_edges_headers_passes(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    records = world.receive(5)
    assert await passed(intake, records) == [5]
    again = records[0]._replace(offset=1, headers=[])
    assert await passed(intake, [again]) == [5]


@pytest.mark.asyncio
async def test_a_store_that_is_away_delays_the_checkpoint_only(world: World) -> None:
    intake = world.intake()
    await intake.assigned({AT: 0})
    world.positions.away = True
    world.clock.advance(10)
    assert await passed(intake, world.receive(0)) == [0]
    world.positions.away = False
    world.clock.advance(10)
    await passed(intake, world.receive(1))
    assert [position.offset for position in world.positions.saved.values()] == [2]


@pytest.mark.asyncio
async def test_memory_that_cannot_be_rebuilt_now_is_an_error_for_later(world: World) -> None:
    world.receive(0)
    world.positions.away = True
    with pytest.raises(StoreUnavailable):
        await world.intake().assigned({AT: 1})
    world.positions.away = False
    world.reader.away = True
    with pytest.raises(LogUnavailable):
        await world.intake().assigned({AT: 1})


@pytest.mark.asyncio
async def test_an_edge_applies_what_its_cloud_sends_once() -> None:
    world = World()
    topic = "edge.edge-events-ts"
    world.log.make(topic, 1)
    apply = Intake(
        site="edge",
        tenant_id="tenant",
        reader=world.reader,
        positions=world.positions,
        clock=world.clock,
        source="cloud",
    )
    assert (apply.name, apply.topics[1]) == ("edge.apply", topic)
    await apply.assigned({TopicPartition(topic, 0): 0})
    for number in (0, 1, 1, 2):
        told = EdgeEvent(EDGE.decode(), "", decode_cloud_event(event(number)))
        headers = [("edge", EDGE), ("epoch", b"1"), ("offset", b"%d" % number)]
        world.log.add(Outgoing(topic, b"k", encode_edge_event(told), headers))
    assert await passed(apply, world.log.records(topic)) == [0, 1, 2]
    assert apply.repeats == 1
