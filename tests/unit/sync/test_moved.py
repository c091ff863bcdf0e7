"""What the sync remembers, once its log was copied into another: nothing lost, nothing taken
for what it is not."""

import json

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.record import Outgoing, Record
from edgeferry.core.store import Position
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.sync.dropped import DropLedger, Told
from edgeferry.sync.inbox import Checkpoint, Received
from edgeferry.sync.intake import Intake
from edgeferry.sync.moved import (
    acknowledged,
    moved_intake,
    moved_ledger,
    moved_receiver,
    moved_sender,
)
from edgeferry.sync.resume import LogFacts, SendMemory, Want, event_hash, resume
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader

OLD = LogFacts(100, 200, "old")
NEW = LogFacts(0, 50, "new")
LAST = event_hash(b"149").hex()


def remembered(
    offset: int = 150, last: str = LAST, lost: int = 0, log_id: str = "old", epoch: int = 3
) -> Position:
    detail = json.dumps({"log_id": log_id, "last": last, "lost": lost})
    return Position(epoch, offset, "peer", detail)


def memory(position: Position) -> SendMemory:
    detail = json.loads(position.detail)
    return SendMemory(
        position.epoch, position.offset, position.incarnation, detail["log_id"],
        bytes.fromhex(detail["last"]), detail["lost"],
    )  # fmt: skip


def event(offset: int) -> Record:
    return Record("edge.cloud-events", 0, offset, 1, b"k", b"%d" % offset, ())


def test_all_that_is_not_acknowledged_is_copied() -> None:
    assert acknowledged(remembered(), OLD, event(149)) == 150
    assert acknowledged(remembered(), OLD, None) == 150
    assert acknowledged(remembered(last=""), OLD, event(149)) == 150
    assert acknowledged(remembered(200), OLD, None) == 200


def test_a_memory_of_another_log_vouches_for_nothing() -> None:
    assert acknowledged(None, OLD, None) == 100
    assert acknowledged(remembered(log_id="older"), OLD, event(149)) == 100
    assert acknowledged(remembered(201), OLD, None) == 100
    assert acknowledged(remembered(90), OLD, None) == 100
    assert acknowledged(remembered(), OLD, event(148)) == 100


@pytest.mark.parametrize("ahead", [0, 7, 50])
def test_a_new_epoch_begins_at_the_start_of_the_copy(ahead: int) -> None:
    """Also when the receiver has more than was acknowledged."""
    moved = memory(moved_sender(remembered(), OLD))
    want = Want(3, 150 + ahead, 150 + ahead, event_hash(b"%d" % (149 + ahead)))
    begin = resume(moved, NEW, want, "peer", {})
    assert (begin.epoch, begin.offset, begin.lost) == (4, 0, 0)


def test_a_receiver_whose_position_fits_the_copy_by_chance_gets_all_of_it() -> None:
    """Few events were ever sent: its offsets are those of the copy, too."""
    moved = memory(moved_sender(remembered(10, event_hash(b"9").hex()), LogFacts(0, 60, "old")))
    want = Want(3, 12, 12, event_hash(b"11"))
    begin = resume(moved, NEW, want, "peer", {11: event_hash(b"21")})
    assert (begin.epoch, begin.offset, begin.lost) == (4, 0, 0)


def test_a_receiver_that_lost_its_memory_gets_all_of_the_copy() -> None:
    moved = memory(moved_sender(remembered(), OLD))
    begin = resume(moved, NEW, Want(0, 0, 0), "another", {})
    assert (begin.epoch, begin.offset, begin.lost) == (4, 0, 0)


@pytest.mark.parametrize(
    ("stored", "lost"),
    [
        (remembered(), 0),
        (remembered(lost=5), 0),  # acknowledged since: it was told
        (remembered(last="", lost=5), 5),
        (remembered(90, event_hash(b"89").hex()), 10),
        (remembered(90, "", lost=5), 15),
    ],
)
def test_a_loss_that_was_not_told_is_told_once(stored: Position, lost: int) -> None:
    moved = memory(moved_sender(stored, OLD))
    begin = resume(moved, NEW, Want(3, 150, 150, b""), "peer", {})
    assert (begin.offset, begin.lost) == (0, lost)
    assert begin.epoch > 3


@pytest.mark.parametrize(
    ("ledger", "stored"),
    [
        (DropLedger(settled=4, first=90, below=100, log_id="old"), remembered(90)),
        (
            DropLedger(settled=4, told=(Told(3, 90, 10),), log_id="old"),
            remembered(100, last="", lost=10),
        ),
        (DropLedger(settled=14, log_id="old"), remembered()),
    ],
)
def test_the_count_of_dropped_events_is_the_same_once_they_are_told(
    ledger: DropLedger, stored: Position
) -> None:
    moved = DropLedger.unpack(moved_ledger(Position(0, 0, "", ledger.pack()), stored, OLD).detail)
    own = memory(moved_sender(stored, OLD))
    want = Want(3, 150, 150)
    begin = resume(own, NEW, want, "peer", {})
    assert moved.standing(NEW).resumed(want, begin, NEW).total == 14


A = b"00000000-0000-1000-8000-00000000000a"
B = b"00000000-0000-1000-8000-00000000000b"


def received(edge: bytes, epoch: int, offset: int) -> Outgoing:
    headers = (("edge", edge), ("epoch", b"%d" % epoch), ("offset", b"%d" % offset))
    return Outgoing("cloud.cloud-events", edge, b"junk", headers)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog(ManualClock())
    log.make("cloud.cloud-events", 1)
    log.make("cloud.cloud-events-ts", 1)
    for edge, offset in [(A, 5), (B, 1), (A, 6), (A, 7)]:
        log.add(received(edge, 2, offset))
    return log


@pytest.mark.asyncio
async def test_a_receiver_keeps_its_position_without_the_old_offsets(log: MemoryLog) -> None:
    positions = MemoryPositions()
    behind = Checkpoint(Want(2, 6, 6, event_hash(b"junk")), {0: 1}, False, 9, 3)
    positions.saved["sync/a/cloud-events"] = behind.pack()
    parts = Received(
        site="cloud", reader=MemoryReader(log), positions=positions, clock=ManualClock()
    )
    moved = await moved_receiver("sync/a/cloud-events", A.decode(), "cloud-events", parts)
    assert Checkpoint.unpack(moved) == Checkpoint(
        Want(2, 8, 8, event_hash(b"junk")), {}, True, 9, 3
    )


@pytest.mark.asyncio
async def test_the_intake_takes_what_it_has_not_taken_and_no_repeat(log: MemoryLog) -> None:
    """Two of four were read; the others, a repeat and a new one come in other partitions."""
    at = TopicPartition("cloud.cloud-events", 0)
    reader = MemoryReader(log)
    before = intake_on(reader, MemoryPositions())
    moved = moved_intake([await before.seen(at, 2)], at.topic, 3)
    assert moved.keys() == {f"intake/cloud.cloud-events/{number}" for number in range(3)}

    positions = MemoryPositions()
    positions.saved.update(moved)
    after = intake_on(reader, positions)
    await after.assigned({TopicPartition(at.topic, number): 0 for number in range(3)})
    outputs = Outputs()
    await after.process(
        [
            Record(row.topic, 1, number, 1, row.key, row.value, row.headers)
            for number, row in enumerate([received(A, 2, 5), received(A, 2, 6), received(A, 2, 7)])
        ],
        outputs,
    )
    assert after.repeats == 1
    assert len(outputs.dead) == 2  # junk, but taken


def test_of_several_partitions_the_last_event_of_an_edge_counts() -> None:
    moved = moved_intake([{b"a": (2, 5)}, {b"a": (2, 9), b"b": (1, 1)}, {b"a": (1, 99)}], "t", 1)
    assert json.loads(moved["intake/t/0"].detail) == {"a": [2, 9], "b": [1, 1]}


def intake_on(reader: MemoryReader, positions: MemoryPositions) -> Intake:
    return Intake(
        site="cloud", tenant_id="t", reader=reader, positions=positions, clock=ManualClock()
    )
