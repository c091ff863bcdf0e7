"""What an outbox tells of itself, and how it drops."""

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Outgoing, Record
from edgeferry.core.store import Position
from edgeferry.sync.flow import SendLane
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.outbox_bytes import SampledBytes, record_bytes
from edgeferry.sync.resume import Want
from edgeferry.sync.send_log import TopicLog
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader, MemoryTopics

TOPIC = "edge.cloud-events-ts"
RECORD = len(b"k") + len(b"event 00") + len("h") + len(b"v")


class Bench:
    def __init__(self, *, counts: bool = True) -> None:
        self.clock = ManualClock()
        self.log = MemoryLog(self.clock)
        self.log.make(TOPIC, 1)
        self.topics = MemoryTopics(self.log, counts=counts)
        self.positions = MemoryPositions()
        self.outbox = self.anew()

    def anew(self) -> Outbox:
        """As after a restart."""
        log = TopicLog(
            MemoryReader(self.log), topic=TOPIC, group="g", topics=self.topics, random=lambda: 0.5
        )
        return Outbox(lane="ts", log=log, positions=self.positions, stream="outbox/ts")

    def produce(self, count: int) -> None:
        for number in range(count):
            self.log.add(Outgoing(TOPIC, b"k", b"event %02d" % number, [("h", b"v")]))
            self.clock.advance(1)

    async def begin(self, want: Want, peer: str = "cloud") -> SendLane:
        await self.outbox.offer()
        begin = await self.outbox.resume(want, peer)
        lane = SendLane(batch_bytes=1000, in_flight=4)
        lane.begin(begin, want, 100_000)
        self.outbox.session = lane
        return lane


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.asyncio
async def test_it_tells_events_bytes_and_the_oldest(bench: Bench) -> None:
    began = bench.clock.now_ms()
    bench.produce(40)
    found = await bench.outbox.figures()
    assert (found.first, found.end, found.depth) == (0, 40, 40)
    assert (found.bytes, found.measured) == (40 * RECORD, True)
    assert found.oldest_ms == began
    assert found.age_seconds(bench.clock.now_ms()) == 40


@pytest.mark.asyncio
async def test_an_empty_outbox_has_no_age(bench: Bench) -> None:
    found = await bench.outbox.figures()
    assert (found.depth, found.bytes, found.oldest_ms) == (0, 0, None)


@pytest.mark.asyncio
async def test_it_follows_its_session(bench: Bench) -> None:
    bench.produce(40)
    lane = await bench.begin(Want(0, 0, 0))
    lane.sent(10, 100, b"", oldest_ms=bench.clock.now_ms())
    lane.ack(lane.epoch, 10)
    assert (await bench.outbox.figures()).first == 10


@pytest.mark.asyncio
async def test_a_drop_takes_the_oldest_and_is_remembered_over_a_restart(bench: Bench) -> None:
    bench.produce(40)
    assert await bench.outbox.drop(15) == 15
    assert bench.log.starts[TOPIC, 0] == 15
    again = bench.anew()
    assert (await again.figures()).dropped == 15
    assert await again.drop(20) == 5
    assert (await bench.anew().figures()).dropped == 20


@pytest.mark.asyncio
async def test_a_drop_never_goes_beyond_the_end(bench: Bench) -> None:
    bench.produce(10)
    assert await bench.outbox.drop(99) == 10
    assert (await bench.outbox.figures()).depth == 0


@pytest.mark.asyncio
async def test_a_drop_that_fails_is_not_counted(bench: Bench) -> None:
    bench.produce(10)
    bench.topics.away = True
    with pytest.raises(LogUnavailable):
        await bench.outbox.drop(5)
    assert (await bench.outbox.figures()).dropped == 0
    assert (await bench.anew().figures()).dropped == 0
    bench.topics.away = False
    assert await bench.outbox.drop(4) == 4


@pytest.mark.asyncio
async def test_acknowledged_events_do_not_count_as_dropped(bench: Bench) -> None:
    bench.produce(40)
    lane = await bench.begin(Want(0, 0, 0))
    lane.sent(30, 100, b"", oldest_ms=0)
    lane.ack(lane.epoch, 30)
    assert await bench.outbox.drop(35) == 5


@pytest.mark.asyncio
async def test_nothing_is_written_for_what_was_never_dropped(bench: Bench) -> None:
    bench.produce(5)
    lane = await bench.begin(Want(0, 0, 0))
    lane.sent(5, 100, b"", oldest_ms=0)
    lane.ack(lane.epoch, 5)
    await bench.outbox.acked(5, b"")
    assert list(bench.positions.saved) == ["outbox/ts"]


@pytest.mark.asyncio
async def test_a_drop_between_offer_and_answer_is_told_whole(bench: Bench) -> None:
    bench.produce(40)
    await bench.outbox.offer()
    await bench.outbox.drop(12)
    begin = await bench.outbox.resume(Want(0, 0, 0), "cloud")
    assert (begin.offset, begin.lost) == (12, 12)
    assert bench.outbox.lost == 12
    assert (await bench.outbox.figures()).dropped == 12


@pytest.mark.asyncio
async def test_a_session_skips_what_was_dropped_under_it(bench: Bench) -> None:
    bench.produce(40)
    lane = await bench.begin(Want(0, 0, 0))
    await bench.outbox.drop(12)
    begin = await bench.outbox.skip(lane)
    assert begin is not None
    assert (begin.epoch, begin.offset, begin.lost) == (lane.epoch, 12, 12)
    assert (lane.next_offset, lane.acked) == (12, 12)
    assert await bench.outbox.skip(lane) is None


@pytest.mark.asyncio
async def test_a_loss_that_an_unbegun_epoch_was_told_of_is_told_again_whole(bench: Bench) -> None:
    """The receiver crashed before it had kept either of the two."""
    bench.produce(40)
    await bench.outbox.drop(10)
    await bench.begin(Want(0, 0, 0))
    await bench.outbox.acked(10, b"")
    await bench.outbox.drop(15)
    lane = await bench.begin(Want(0, 0, 0))
    await bench.outbox.acked(lane.acked, b"")
    await bench.outbox.offer()
    assert (await bench.outbox.resume(Want(0, 0, 0), "cloud")).lost == 15
    assert (await bench.outbox.figures()).dropped == 15


@pytest.mark.asyncio
async def test_a_looker_sees_what_the_sender_has_kept(bench: Bench) -> None:
    bench.produce(40)
    looker = bench.anew()
    assert (await looker.figures()).first == 0
    await bench.positions.save(
        "outbox/ts", Position(1, 25, "", '{"log_id": "", "last": "", "lost": 0}')
    )
    looker.forget()
    assert (await looker.figures()).first == 25


@pytest.mark.asyncio
async def test_where_the_log_keeps_no_count_few_bytes_are_counted_and_many_reckoned() -> None:
    bench = Bench(counts=False)
    bench.produce(100)
    found = await bench.outbox.figures()
    assert (found.bytes, found.measured) == (100 * RECORD, True)
    bench.produce(900)
    found = await bench.outbox.figures()
    assert found.bytes == pytest.approx(1000 * RECORD, rel=0.1)
    assert not found.measured


@pytest.mark.asyncio
async def test_samples_follow_what_is_in_the_log_and_stay_few() -> None:
    sizes = [100] * 5000 + [900] * 5000
    records = [Record("t", 0, i, 0, None, b"x" * size, ()) for i, size in enumerate(sizes)]
    places = iter([i * 37 % 97 / 97 for i in range(97)])
    sampled = SampledBytes(lambda: next(places))
    reads = 0

    async def read(offset: int, max_bytes: int) -> list[Record]:
        nonlocal reads
        reads += 1
        found: list[Record] = []
        size = 0
        for record in records[offset:]:
            size += record_bytes(record)
            if found and size > max_bytes:
                break
            found.append(record)
        return found

    for _ in range(60):
        size, measured = await sampled.between(0, len(records), read)
    assert not measured
    assert size == pytest.approx(sum(sizes), rel=0.15)
    assert reads < 80


@pytest.mark.asyncio
async def test_a_store_that_was_lost_leaves_what_the_log_knows_of_the_receiver(
    bench: Bench,
) -> None:
    bench.produce(40)
    lane = await bench.begin(Want(0, 0, 0))
    lane.sent(30, 100, b"", oldest_ms=0)
    lane.ack(lane.epoch, 30)
    await bench.outbox.acked(30, b"")
    bench.log.trim(TOPIC, 0, 30)
    bench.positions.saved.clear()
    bench.outbox = bench.anew()
    assert (await bench.outbox.figures()).first == 30
    begin_again = await bench.begin(Want(lane.epoch, 30, 30, b"trimmed"))
    assert (begin_again.epoch, begin_again.acked) == (lane.epoch + 1, 30)
    assert bench.outbox.lost == 0
