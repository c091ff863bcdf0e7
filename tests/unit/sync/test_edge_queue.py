"""The Edge queue filled from the log, and sent down: all of it, in order, once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock, SystemClock
from edgeferry.core.errors import OffsetOutOfRange
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import TsPoint
from edgeferry.core.record import Outgoing, Record
from edgeferry.core.store import Store
from edgeferry.log.codec import decode_edge_event, encode_edge_event
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from edgeferry.streams.processor import Outputs
from edgeferry.sync.edge_queue import EdgeQueue, QueueNews
from edgeferry.sync.queue_bounds import Retention
from edgeferry.sync.queue_log import DownLanes, QueueLog
from tests.unit.sync.fakes import MemoryLog, MemoryTopics
from tests.unit.sync.links import Pair, until

LANE = "edge-events-ts"
OTHER_EDGE = "00000000-0000-1000-8000-00000000000b"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(settings=StoreSettings(), data=tmp_path / "store", clock=SystemClock())
    await made.start()
    yield made
    await made.stop()


def event(edge_id: str, number: int) -> bytes:
    told = CloudEvent(
        id=f"e-{number}", created_time=1, stamp=1, tenant_id="t", action="TIMESERIES_UPDATED",
        type="DEVICE", entity_type="DEVICE", entity_id="d", entity_name="", entity_profile="",
        timeseries=[TsPoint(1, {"n": 1})],
    )  # fmt: skip
    return encode_edge_event(EdgeEvent(edge_id, "", told))


class Queue:
    """The processor over a log in memory."""

    def __init__(self, store: Store, retention: Retention | None = None) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.log.make(f"cloud.{LANE}", 1)
        self.news = QueueNews()
        self.store = store.edge_events
        self.processor = EdgeQueue(
            site="cloud",
            store=self.store,
            positions=store.positions,
            topics=MemoryTopics(self.log),
            news=self.news,
            clock=self.clock,
            retention=retention,
        )

    def publish(self, edge_id: str, *numbers: int) -> list[Record]:
        before = len(self.log.records(f"cloud.{LANE}"))
        for number in numbers:
            headers = [("traceparent", b"00-abc"), ("origin", b"edge:x")]
            value = event(edge_id, number)
            self.log.add(Outgoing(f"cloud.{LANE}", edge_id.encode(), value, headers))
        return self.log.records(f"cloud.{LANE}")[before:]

    async def take(self, records: list[Record]) -> Outputs:
        outputs = Outputs()
        await self.processor.process(records, outputs)
        await self.processor.delivered(records)
        return outputs

    def lane(self, edge_id: str) -> QueueLog:
        return QueueLog(edge_id=edge_id, lane=LANE, store=self.store, news=self.news)


@pytest.mark.asyncio
async def test_equal_events_are_not_merged_and_a_repeated_batch_adds_nothing(store: Store) -> None:
    queue = Queue(store)
    records = queue.publish(OTHER_EDGE, 7, 8, 9)  # equal but for their ids
    await queue.take(records)
    await queue.take(records)
    held = await queue.lane(OTHER_EDGE).read(0, 100_000, 0)
    assert [record.offset for record in held] == [0, 1, 2]
    assert [record.value for record in held] == [record.value for record in records]
    assert held[0].headers == [("traceparent", b"00-abc"), ("origin", b"edge:x")]
    assert held[0].key == b"d"


@pytest.mark.asyncio
async def test_an_event_that_stands_in_the_log_twice_is_queued_once(store: Store) -> None:
    queue = Queue(store)
    await queue.take(queue.publish(OTHER_EDGE, 1, 2, 1))
    await queue.take(queue.publish(OTHER_EDGE, 2, 3))
    later = queue.publish(OTHER_EDGE, 3, 1, 4)
    await Queue(store).take(later)  # in a new process
    held = await queue.lane(OTHER_EDGE).read(0, 100_000, 0)
    ids = [decode_edge_event(record.value).event.id for record in held]
    assert ids == ["e-1", "e-2", "e-3", "e-4"]


@pytest.mark.asyncio
async def test_what_is_no_edge_event_is_a_dead_letter_and_the_others_pass(store: Store) -> None:
    queue = Queue(store)
    (good,) = queue.publish(OTHER_EDGE, 1)
    bad = good._replace(value=b"garbage", offset=9)
    outputs = await queue.take([bad, good])
    assert [dead.record for dead in outputs.dead] == [bad]
    assert (await queue.lane(OTHER_EDGE).facts()).end == 1


@pytest.mark.asyncio
async def test_too_many_events_leave_and_a_session_below_them_is_told(store: Store) -> None:
    queue = Queue(store, Retention(rows=2))
    await queue.take(queue.publish(OTHER_EDGE, *range(5)))
    lane = queue.lane(OTHER_EDGE)
    assert await lane.facts() == (3, 5, "")
    with pytest.raises(OffsetOutOfRange):
        await lane.read(0, 1_000, 0)
    assert [record.offset for record in await lane.read(3, 100_000, 0)] == [3, 4]


@pytest.mark.asyncio
async def test_the_queue_comes_down_whole_and_once_over_restarts(
    store: Store, tmp_path: Path
) -> None:
    pair = Pair(tmp_path)
    edge_id = pair.edge_record.id
    queue = Queue(store)
    await queue.take(queue.publish(edge_id, *range(50)))
    await queue.take(queue.publish(OTHER_EDGE, 999))

    def down() -> DownLanes:
        return DownLanes(store=queue.store, positions=pair.cloud.positions, news=queue.news)

    def came() -> list[str]:
        records = pair.edge.log.records(f"edge.{LANE}")
        return [decode_edge_event(record.value).event.id for record in records]

    pair.down = down()
    async with pair.cloud_runs() as cloud, pair.edge_runs() as edge:
        await until(lambda: len(came()) == 50)
        await queue.take(queue.publish(edge_id, *range(50, 60)))
        await until(lambda: len(came()) == 60)
        (status,) = await cloud.edges()
        assert [lane.lane for lane in status.down] == ["edge-events", LANE]
        assert (status.down[1].made, status.down[1].sent) == (60, 60)
        await until(lambda: edge.status().received[1].acked == 60)
    await queue.take(queue.publish(edge_id, *range(60, 70)))
    pair.down = down()
    async with pair.cloud_runs() as cloud:
        (status,) = await cloud.edges()
        told = status.down[1]
        assert (told.made, told.acked, told.depth, told.lost) == (70, 60, 10, 0)
        async with pair.edge_runs():
            await until(lambda: len(came()) == 70)
    assert came() == [f"e-{number}" for number in range(70)]


@pytest.mark.asyncio
async def test_an_edge_that_lost_its_memory_gets_all_that_the_queue_holds(
    store: Store, tmp_path: Path
) -> None:
    pair = Pair(tmp_path)
    queue = Queue(store)
    await queue.take(queue.publish(pair.edge_record.id, *range(5)))
    pair.down = DownLanes(store=queue.store, positions=pair.cloud.positions, news=queue.news)
    topic = f"edge.{LANE}"
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.edge.log.records(topic)) == 5)
    pair.edge.positions.saved.clear()
    pair.edge.log.make(topic, 1)
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.edge.log.records(topic)) == 5)
