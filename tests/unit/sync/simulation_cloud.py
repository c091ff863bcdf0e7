"""The steps of the simulated Cloud."""

from collections import deque

from edgeferry.sync.flow import ReceiveLane
from edgeferry.sync.recovery import Found, longest_prefix
from edgeferry.sync.resume import (
    Begin,
    Want,
)
from tests.unit.sync.simulation_state import Batch, Connection, Received, Scene


class CloudSteps(Scene):
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
