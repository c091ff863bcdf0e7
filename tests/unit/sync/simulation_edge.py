"""The steps of the simulated Edge."""

from edgeferry.sync.flow import SendLane
from edgeferry.sync.resume import (
    LogFacts,
    Want,
    offsets_to_check,
    remembered,
    resume,
)
from tests.unit.sync.simulation_state import KEYS, Batch, Connection, Event, Scene


class EdgeSteps(Scene):
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
