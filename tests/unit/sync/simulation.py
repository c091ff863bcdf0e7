"""The sync protocol in a seeded world: the pure core alone, driven step by step.

One lane, one Edge, one Cloud, a network of ordered streams that break. Everything that a
real run does between two awaits is one step here, so a crash can fall between any two.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeferry.sync.dropped import DropLedger
from edgeferry.sync.filter import EventFilter
from edgeferry.sync.flow import ReceiveLane, SendLane
from edgeferry.sync.recovery import Found, Origin, longest_prefix
from edgeferry.sync.resume import (
    Begin,
    LogFacts,
    SendMemory,
    Want,
    event_hash,
    offsets_to_check,
    remembered,
    resume,
)

PARTITIONS = 3
KEYS = 5
EDGE = b"edge"


class Event(NamedTuple):
    number: int
    key: int

    @property
    def hash(self) -> bytes:
        return event_hash(b"%d" % self.number)


class Received(NamedTuple):
    event: Event
    epoch: int
    offset: int


class Batch(NamedTuple):
    epoch: int
    from_offset: int
    events: tuple[Event, ...]


@dataclass
class Connection:
    """Two ordered streams. What stands in them when it breaks is gone."""

    up: deque[object] = field(default_factory=deque)
    down: deque[object] = field(default_factory=deque)
    broken: bool = False


@dataclass
class Edge:
    """Durable: log, start, memory, ledger, committed. The rest dies in a crash."""

    log: list[Event] = field(default_factory=list)
    start: int = 0
    memory: SendMemory | None = None
    ledger: DropLedger = field(default_factory=DropLedger)
    committed: int = 0
    begun_at: int = 0
    connection: Connection | None = None
    lane: SendLane | None = None
    pending: SendMemory | None = None


@dataclass
class Cloud:
    """Durable: topic, checkpoint, incarnation. The rest dies in a crash."""

    topic: list[list[Received]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    checkpoint: tuple[Want, list[int], bool] | None = None
    lost_kept: int = 0
    lost: int = 0
    incarnation: str = "c0"
    connection: Connection | None = None
    lane: ReceiveLane | None = None
    begun: bool = False
    opened: bool = False
    queue: deque[Batch] = field(default_factory=deque)
    appending: list[deque[Received]] | None = None
    append_ends: tuple[int, bytes, int] = (0, b"", 0)
    waiting: Connection | None = None


@dataclass
class Faults:
    """How often each happens, in steps of a thousand."""

    breaks: int = 20
    edge_crashes: int = 10
    cloud_crashes: int = 10
    restores: int = 0
    memory_losses: int = 0
    losing_trims: int = 0
    drops: int = 0
    log_remade: int = 0
    late_writers: bool = True


class World:
    def __init__(self, seed: int, faults: Faults, *, down: bool = False) -> None:
        """``down``: a lane down, whose log, the Edge queue, has no identity of its own and whose
        receiver's topic has one partition. (The sender is called edge nevertheless.)"""
        self.random = random.Random(seed)
        self.faults = faults
        self.edge = Edge()
        self.partitions = 1 if down else PARTITIONS
        self.cloud = Cloud(topic=[[] for _ in range(self.partitions)])
        self.created = 0
        self.zombies: list[deque[Received]] = []
        self.backup: tuple[list[Event], int, SendMemory | None, int, str] | None = None
        self.logs_made = 0
        self.told_lost = 0
        self.log_id = "" if down else "log0"
        self.epoch_starts: dict[int, int] = {}
        self.incarnation_told = ""

    # --- running -----------------------------------------------------------------

    def run(self, steps: int) -> None:
        actions = self._calm_actions() + self._fault_actions()
        names = [action for action, _ in actions]
        weights = [weight for _, weight in actions]
        for action in self.random.choices(names, weights, k=steps):
            action()
        self._calm_down()

    def _calm_actions(self) -> list[tuple[Callable[[], None], int]]:
        return [
            (self.produce, 120),
            (self.connect, 60),
            (self.cloud_reads, 200),
            (self.edge_reads, 200),
            (self.edge_sends, 150),
            (self.cloud_begins_append, 80),
            (self.cloud_appends_one, 250),
            (self.cloud_checkpoints, 30),
            (self.edge_keeps, 40),
            (self.zombie_appends, 30),
            (self.trim_acked, 10),
        ]

    def _fault_actions(self) -> list[tuple[Callable[[], None], int]]:
        faults = self.faults
        return [
            (self.break_connection, faults.breaks),
            (self.edge_crashes, faults.edge_crashes),
            (self.cloud_crashes, faults.cloud_crashes),
            (self.take_backup, faults.restores * 2),
            (self.restore_backup, faults.restores),
            (self.cloud_loses_memory, faults.memory_losses),
            (self.trim_unsent, faults.losing_trims),
            (self.drop_oldest, faults.drops),
            (self.remake_log, faults.log_remade),
        ]

    def _calm_down(self) -> None:
        """No more faults: everything must arrive."""
        for _ in range(20_000):
            if self._all_arrived():
                return
            self.connect()
            self.edge_sends()
            self.cloud_reads()
            self.cloud_begins_append()
            self.cloud_appends_one()
            self.edge_reads()
            self.zombie_appends()
        raise AssertionError(f"does not come to rest: {self.edge} {self.cloud}")

    def _all_arrived(self) -> bool:
        lane = self.edge.lane
        return (
            lane is not None
            and self.edge.connection is not None
            and not self.edge.connection.broken
            and not self.edge.connection.up
            and lane.acked == len(self.edge.log)
            and not self.zombies
        )

    # --- the Edge ------------------------------------------------------------------

    def produce(self) -> None:
        self.edge.log.append(Event(self.created, self.random.randrange(KEYS)))
        self.created += 1

    def connect(self) -> None:
        edge = self.edge
        if edge.connection is not None and not edge.connection.broken:
            return
        edge.connection, edge.lane = Connection(), None
        edge.pending = edge.memory
        edge.connection.up.append("hello")

    def edge_reads(self) -> None:
        edge = self.edge
        if edge.connection is None or edge.connection.broken or not edge.connection.down:
            return
        frame = edge.connection.down.popleft()
        if isinstance(frame, Want):
            self._edge_resumes(frame)
        elif edge.lane is not None and isinstance(frame, tuple):
            epoch, next_offset = frame[1:]
            edge.lane.ack(epoch, next_offset)

    def facts(self) -> LogFacts:
        return LogFacts(self.edge.start, len(self.edge.log), self.log_id)

    def _edge_resumes(self, want: Want) -> None:
        edge = self.edge
        assert edge.connection is not None
        facts, memory = self.facts(), edge.pending
        offsets = offsets_to_check(memory, facts, want)
        hashes = {offset: edge.log[offset].hash for offset in offsets}
        peer = self.incarnation_told
        begin = resume(memory, facts, want, peer, hashes)
        edge.ledger = edge.ledger.standing(facts).resumed(want, begin, facts)
        edge.memory = remembered(memory, want, begin, peer, facts.log_id)
        edge.committed, edge.begun_at = edge.memory.acked, begin.offset
        self.told_lost += begin.lost
        edge.lane = SendLane(batch_bytes=4, in_flight=3)
        edge.lane.begin(begin, want, 12)
        edge.connection.up.append(begin)

    def edge_sends(self) -> None:
        edge = self.edge
        lane = edge.lane
        if edge.connection is None or edge.connection.broken or lane is None:
            return
        if not lane.has_room() or lane.next_offset >= len(edge.log):
            return
        if lane.next_offset < edge.start:
            self._edge_skips(lane, edge.connection)
            return
        first = lane.next_offset
        events = tuple(edge.log[first : first + self.random.randint(1, 4)])
        lane.sent(first + len(events), len(events), events[-1].hash, 0)
        edge.connection.up.append(Batch(lane.epoch, first, events))

    def _edge_skips(self, lane: SendLane, connection: Connection) -> None:
        """Or sometimes ends the session, as an error in between would."""
        if self.random.random() < 0.2:
            connection.broken = True
        elif not lane.in_flight:
            begin = lane.beginning_at(self.edge.start)
            ledger = self.edge.ledger.standing(self.facts())
            ledger = ledger.acked(lane.epoch, self.edge.begun_at, lane.acked)
            self.edge.ledger = ledger.skipped(begin, self.facts())
            self.told_lost += begin.lost
            assert self.edge.memory is not None
            self.edge.memory = self.edge.memory.skip(begin)
            self.edge.begun_at = begin.offset
            lane.skip(begin)
            connection.up.append(begin)

    def edge_keeps(self) -> None:
        edge = self.edge
        if edge.lane is not None and edge.memory is not None:
            lane = edge.lane
            edge.ledger = edge.ledger.acked(lane.epoch, edge.begun_at, lane.acked)
            edge.memory = edge.memory.ack(edge.begun_at, lane.acked, lane.acked_hash)
            edge.committed = edge.lane.acked

    def edge_crashes(self) -> None:
        edge = self.edge
        if edge.connection is not None and self.random.random() < 0.5:
            edge.connection.broken = True  # else the Cloud does not notice yet
        edge.connection, edge.lane, edge.pending = None, None, None

    def trim_acked(self) -> None:
        """By the offset committed in the log, which goes with the log."""
        self.edge.start = max(self.edge.start, self.random.randint(0, self.edge.committed))

    def trim_unsent(self) -> None:
        self.edge.start = self.random.randint(self.edge.start, len(self.edge.log))

    def drop_oldest(self) -> None:
        """Noted first; a crash in between leaves the log as it was, or drops a part."""
        edge = self.edge
        below = self.random.randint(edge.start, len(edge.log))
        acked = edge.memory.acked if edge.memory else 0
        if edge.lane is not None:
            acked = edge.lane.acked
        edge.ledger = edge.ledger.standing(self.facts()).dropping(acked, below, self.facts())
        if self.random.random() < 0.2:
            self.edge_crashes()
            below = self.random.randint(edge.start, below)
        edge.start = below

    def take_backup(self) -> None:
        edge = self.edge
        self.backup = (list(edge.log), edge.start, edge.memory, edge.committed, self.log_id)

    def restore_backup(self) -> None:
        if self.backup is None:
            return
        self.edge_crashes()
        log, self.edge.start, self.edge.memory, self.edge.committed, self.log_id = self.backup
        self.edge.log = list(log)

    def remake_log(self) -> None:
        """The log is gone and made anew; the Edge's store is still there."""
        self.edge_crashes()
        self.edge.log, self.edge.start, self.edge.committed = [], 0, 0
        self.logs_made += 1
        self.log_id = f"log{self.logs_made}" if self.log_id else ""

    # --- the Cloud -----------------------------------------------------------------

    def cloud_reads(self) -> None:
        """The newest connection that has a frame, or one that was replaced already."""
        cloud = self.cloud
        newest = self.edge.connection
        if newest is not None and newest.up and newest.up[0] == "hello":
            cloud.waiting = newest
            newest.up.popleft()
        if cloud.waiting is not None:
            if cloud.appending is None:  # the old session's append is finished first
                self._cloud_welcomes(cloud.waiting)
                cloud.waiting = None
            return
        connection = cloud.connection
        if connection is None:
            return
        if connection.broken or not connection.up:
            if connection.broken and cloud.appending is None:
                self._cloud_closes()
            return
        frame = connection.up.popleft()
        assert cloud.lane is not None
        if isinstance(frame, Begin):
            if cloud.begun:
                cloud.lane.skip(frame)
                began = True
            else:
                began = cloud.lane.begin(frame)
            if began:
                cloud.opened = False
                cloud.lost += frame.lost
                self.epoch_starts[frame.epoch] = frame.offset
            cloud.lane.granted(12)
            cloud.begun = True
        elif isinstance(frame, Batch):
            size = len(frame.events)
            cloud.lane.take(frame.epoch, frame.from_offset, frame.from_offset + size, size)
            cloud.queue.append(frame)

    def _cloud_closes(self) -> None:
        """In order: the exact position is kept."""
        cloud = self.cloud
        if cloud.lane is not None and cloud.begun:
            self._save(closed=True)
        self._cloud_forgets()

    def _cloud_forgets(self) -> None:
        cloud = self.cloud
        cloud.connection, cloud.lane, cloud.begun, cloud.opened = None, None, False, False
        cloud.queue.clear()
        cloud.appending = None

    def _cloud_welcomes(self, connection: Connection) -> None:
        cloud = self.cloud
        self._cloud_closes()
        position = Want(0, 0, 0)
        cloud.lost = cloud.lost_kept
        if cloud.checkpoint is not None:
            position, ends, closed = cloud.checkpoint
            if not closed:
                position = longest_prefix(position, self._scan(position.epoch, ends))
        cloud.connection, cloud.lane = connection, ReceiveLane(position)
        self.incarnation_told = cloud.incarnation
        connection.down.append(position)

    def _scan(self, epoch: int, ends: list[int]) -> list[Found]:
        return [
            Found(record.offset, record.event.hash)
            for partition, end in zip(self.cloud.topic, ends, strict=True)
            for record in partition[end:]
            if record.epoch == epoch
        ]

    def cloud_begins_append(self) -> None:
        cloud = self.cloud
        if cloud.appending is not None or not cloud.queue or not cloud.begun:
            return
        if not cloud.opened:
            self._save(closed=False)
            cloud.opened = True
            if self.random.random() < 0.1:
                return
        appending: list[deque[Received]] = [deque() for _ in range(self.partitions)]
        size = 0
        for _ in range(self.random.randint(1, len(cloud.queue))):
            epoch, first, events = cloud.queue.popleft()
            for offset, event in enumerate(events, first):
                appending[event.key % self.partitions].append(Received(event, epoch, offset))
            cloud.append_ends = (first + len(events), events[-1].hash, size + len(events))
            size += len(events)
        cloud.appending = appending

    def cloud_appends_one(self) -> None:
        cloud = self.cloud
        if cloud.appending is None:
            return
        left = [number for number, queue in enumerate(cloud.appending) if queue]
        if left:
            number = self.random.choice(left)
            cloud.topic[number].append(cloud.appending[number].popleft())
            return
        cloud.appending = None
        assert cloud.lane is not None
        next_offset, last, size = cloud.append_ends
        cloud.lane.stored(next_offset, size, last)
        self._check_no_gap(cloud.lane.epoch, next_offset)
        if cloud.connection is not None and not cloud.connection.broken:
            cloud.connection.down.append(("ack", cloud.lane.epoch, next_offset))

    def cloud_checkpoints(self) -> None:
        if self.cloud.opened and self.cloud.appending is None:
            self._save(closed=False)

    def _save(self, *, closed: bool) -> None:
        cloud = self.cloud
        assert cloud.lane is not None
        ends = [len(partition) for partition in cloud.topic]
        cloud.checkpoint = (cloud.lane.position, ends, closed)
        cloud.lost_kept = cloud.lost

    def cloud_crashes(self) -> None:
        """What the writer held is gone, or a paused process lets it go late."""
        cloud = self.cloud
        late = self.faults.late_writers and self.random.random() < 0.5
        if cloud.appending is not None and late:
            self.zombies += [queue for queue in cloud.appending if queue]
        if cloud.connection is not None:
            cloud.connection.broken = True
        if cloud.waiting is not None:
            cloud.waiting.broken = True
            cloud.waiting = None
        self._cloud_forgets()

    def zombie_appends(self) -> None:
        if not self.zombies:
            return
        queue = self.random.choice(self.zombies)
        record = queue.popleft()
        self.cloud.topic[record.event.key % self.partitions].append(record)
        if not queue:
            self.zombies.remove(queue)

    def cloud_loses_memory(self) -> None:
        self.cloud_crashes()
        self.cloud.checkpoint = None
        self.cloud.incarnation = f"c{self.created}-{self.random.random()}"

    # --- the network ---------------------------------------------------------------

    def break_connection(self) -> None:
        """Sometimes only the Edge notices: the Cloud then holds a half-open one."""
        connection = self.edge.connection
        if connection is None:
            return
        if self.random.random() < 0.5:
            connection.broken = True
        self.edge.connection, self.edge.lane = None, None

    # --- what must hold ------------------------------------------------------------

    @property
    def lost(self) -> int:
        """Events that the Cloud counts as lost."""
        return self.cloud.lost

    @property
    def dropped(self) -> int:
        """Events that the Edge counts as dropped, at rest."""
        self.edge_keeps()
        return self.edge.ledger.standing(self.facts()).total

    def _check_no_gap(self, epoch: int, next_offset: int) -> None:
        stands = {
            record.offset
            for partition in self.cloud.topic
            for record in partition
            if record.epoch == epoch
        }
        begun = self.epoch_starts[epoch]
        missing = set(range(begun, next_offset)) - stands
        assert not missing, f"acknowledged {next_offset} of epoch {epoch} without {missing}"

    def filtered(self) -> list[list[Received]]:
        """Per partition, what the intake lets pass."""
        passed = []
        for partition in self.cloud.topic:
            event_filter = EventFilter({}, 0)
            passed.append(
                [
                    record
                    for number, record in enumerate(partition)
                    if event_filter.passes(number, Origin(EDGE, record.epoch, record.offset))
                ]
            )
        return passed
