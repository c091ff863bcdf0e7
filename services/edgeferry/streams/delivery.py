"""How batches reach a Faust agent, and what may be committed of them.

Stock Faust pays per record in every layer below the agent. Here one Faust message is one
fetch: its value is a ``Batch`` of the log's own records, across partitions. Only the
runner marks a batch as done, after everything that came of it is durable; Faust's own
acknowledgements (it also acknowledges what it skipped and what raised) count for nothing.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import faust
from faust.types import TP, ConsumerMessage

from edgeferry.core.record import Record, Span, clean_headers

MAX_BATCH_RECORDS = 500
MAX_BATCH_BYTES = 4_000_000
"""Of one fetch; on Kafka also of what is fetched ahead."""

REVOKE_GRACE_SECONDS = 10.0
"""How long a rebalance waits for the batches that were begun."""

COMMIT_TIMEOUT_SECONDS = 10.0
FETCH_SECONDS = 1.0
"""How long a fetch waits for the first record, unless the transport says otherwise."""

_POLL_SECONDS = 0.005
_DEMAND_SECONDS = 1.0

log = logging.getLogger(__name__)


class Batch:
    """Records of one delivery, in offset order per partition.

    next_offsets: what to commit once it is done. assigned: on the first batch after an
    assignment, all partitions held with the offsets that reading started from.
    running: the runner has it in hand. abandoned: the partitions are going away, a retry has
    no purpose. done: everything that came of it is durable.
    """

    __slots__ = ("abandoned", "assigned", "done", "next_offsets", "records", "running")

    def __init__(
        self,
        records: Sequence[Record],
        next_offsets: Mapping[TP, int],
        assigned: Mapping[TP, int] | None = None,
    ) -> None:
        self.records = records
        self.next_offsets = next_offsets
        self.assigned = assigned
        self.running = False
        self.abandoned = False
        self.done = False

    def spans(self) -> list[Span]:
        """What this batch covers of each partition."""
        begins: dict[TP, int] = {}
        for record in self.records:
            begins.setdefault(TP(record.topic, record.partition), record.offset)
        return [Span(*tp, begin, self.next_offsets[tp]) for tp, begin in begins.items()]


def _record(found: Any) -> Record:
    """Of a client's own class, which looks alike and is no tuple."""
    return Record(
        found.topic, found.partition, found.offset, found.timestamp,
        found.key, found.value, clean_headers(found.headers),
    )  # fmt: skip


class BatchSchema(faust.Schema[Any, Any]):
    """Keys and batches pass through undecoded: the runner decodes inside its own try."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.value


class BatchDelivery:
    """Mixin before a Faust consumer: delivers batches, commits the prefix that is done."""

    app: Any
    transport: Any
    flow_active: bool
    should_stop: bool
    consumer_stopped_errors: Any
    callback: Any
    assignment: Any
    perform_seek: Any
    _read_offset: dict[TP, int | None]
    _committed_offset: dict[TP, int | None]
    _commit: Any
    _wait_next_records: Any

    fetch_seconds: float = FETCH_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches: deque[Batch] = deque()
        self._to_commit: dict[TP, int] = {}
        self._committing = asyncio.Lock()
        self._announced: int | None = None
        self._lost_below: dict[TP, int] = {}
        self.lost_records = 0
        self.deliveries = 0
        self.done_offsets: dict[TP, int] = {}
        self.reading = asyncio.Event()
        self.demand = asyncio.Event()

    async def _drain_messages(self, fetcher: Any) -> None:
        app, size = self.app, self.transport.max_batch_records
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._wait_for_demand()
                generation = app.consumer_generation_id
                fetched, active = await self._wait_next_records(self.fetch_seconds)
                if not fetched:
                    self.after_fetch(0)
                    await asyncio.sleep(0)
                    continue
                if not self.flow_active or generation != app.consumer_generation_id:
                    # The position has moved past records that nobody will handle: go back.
                    await self.perform_seek()
                    continue
                records: list[Record] = []
                for tp, found in fetched.items():
                    if active is None or tp in active:
                        records += found
                self.after_fetch(len(records))
                for start in range(0, len(records), size):
                    if not await self._deliver(records[start : start + size], generation):
                        break
        except self.consumer_stopped_errors:
            if not app.should_stop:
                raise
        except asyncio.CancelledError:
            if not app.should_stop:
                raise

    async def _wait_for_demand(self) -> None:
        """Fetch when the runner is through with what it has: what arrives meanwhile comes
        as one batch. (Small batches queued up behind a slow one each wait their turn.)"""
        while (
            self._batches
            and not self._batches[-1].done
            and self.flow_active
            and not self.should_stop
        ):
            self.demand.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.demand.wait(), _DEMAND_SECONDS)

    def after_fetch(self, count: int) -> None:
        """Hook: ``count`` records came with the last fetch."""

    async def _deliver(self, records: Sequence[Record], generation: int) -> bool:
        """Whether to go on with what was fetched together with them: not when they come again,
        for then what stands above them must come after them."""
        await self.app.flow_control.acquire()  # blocks during a rebalance
        if generation != self.app.consumer_generation_id or not self.flow_active:
            return False  # fetched before the rebalance, which sought back: it comes again
        read = self._read_offset
        fresh: list[Record] = []
        below = False
        ends: dict[tuple[str, int], int] = {}
        for record in records:
            tp = (record.topic, record.partition)
            end = ends.get(tp)
            if end is None:
                end = read[TP(*tp)] or 0
            offset = record.offset
            if offset >= end:
                ends[tp] = offset + 1
                fresh.append(record if type(record) is Record else _record(record))
            else:
                below = below or offset < (read[TP(*tp)] or 0)
        if below:
            # Only a log that was truncated or made anew under us gives these.
            log.warning("%s: records below the position: looking again", self.app.conf.id)
            await self.perform_seek()
            return False
        if not fresh:
            return True
        next_offsets = {TP(*tp): offset for tp, offset in ends.items()}
        batch = Batch(fresh, next_offsets, self._announce(generation))
        last = fresh[-1]
        tp = TP(last.topic, last.partition)
        message = ConsumerMessage(
            last.topic, last.partition, last.offset, last.timestamp / 1000.0,
            0, None, None, cast(Any, batch), None,
            tp=tp, generation_id=generation,
        )  # fmt: skip
        self._collect_done()  # what is done is not kept in memory until the next commit
        self._batches.append(batch)
        read.update(next_offsets)
        self.deliveries += 1
        await self.callback(message)
        return True

    def _announce(self, generation: int) -> Mapping[TP, int] | None:
        if self._announced == generation:
            return None
        self._announced = generation
        return {tp: self._committed_offset[tp] or 0 for tp in self.assignment()}

    def read_anew(self, tp: TP, committed: int, end: int) -> None:
        """Say that a partition ends below what was committed of it."""
        log.error(
            "%s: %s-%d ends at %d and %d was committed: it was made anew, so all of it is read",
            self.app.conf.id, *tp, end, committed,
        )  # fmt: skip

    def read_past(self, tp: TP, position: int, start: int) -> None:
        """Count and say what a partition no longer has from ``position`` on, each record once."""
        position = max(position, self._lost_below.get(tp, 0))
        if position < start:
            self._lost_below[tp] = start
            self.lost_records += start - position
            log.error(
                "%s: LOST %d records of %s-%d: they were deleted before they were read",
                self.app.conf.id, start - position, *tp,
            )  # fmt: skip

    def done_offset(self, tp: TP) -> int:
        """Everything of the partition below it is done."""
        done = self.done_offsets.get(tp)
        return done or self._committed_offset.get(tp) or self._read_offset.get(tp) or 0

    def _collect_done(self) -> None:
        while self._batches and self._batches[0].done:
            self._to_commit.update(self._batches.popleft().next_offsets)
        self.done_offsets.update(self._to_commit)

    def _abandon(self) -> None:
        for batch in self._batches:
            batch.abandoned = True
        self._batches.clear()

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the done prefix. Offsets of a commit that failed are kept for the next."""
        async with self._committing:
            self._collect_done()
            assigned = self.assignment()
            offsets = {tp: at for tp, at in self._to_commit.items() if tp in assigned}
            if not offsets:
                return False
            try:
                committed = await asyncio.wait_for(self._commit(offsets), COMMIT_TIMEOUT_SECONDS)
            except TimeoutError:
                return False
            if committed:
                self._committed_offset.update(offsets)
                for tp, offset in offsets.items():
                    if self._to_commit.get(tp) == offset:
                        del self._to_commit[tp]
            return bool(committed)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.quiesce()
        self._abandon()  # the assignor is eager: everything is revoked
        self._to_commit.clear()
        await super().on_partitions_revoked(revoked)  # type: ignore[misc]

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._abandon()
        self._to_commit.clear()
        self._committed_offset.clear()  # a commit that failed may have left a value
        self.done_offsets.clear()
        self._announced = None
        await super().on_partitions_assigned(assigned, generation_id)  # type: ignore[misc]

    async def quiesce(self) -> None:
        """Let nothing new begin, wait for what has begun, commit it."""
        self.stop_flow()
        self.app.flow_control.suspend()
        self.app.flow_control.clear()
        for batch in self._batches:
            batch.abandoned = True
        deadline = asyncio.get_running_loop().time() + REVOKE_GRACE_SECONDS
        while self.in_progress() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        await self.commit()

    def resume_flow(self) -> None:
        super().resume_flow()  # type: ignore[misc]
        self.reading.set()

    def stop_flow(self) -> None:
        self.reading.clear()
        super().stop_flow()  # type: ignore[misc]

    def in_progress(self) -> bool:
        """The runner has a batch in hand."""
        return any(batch.running for batch in self._batches)

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: the blocking put is the backpressure. (Stock Faust takes the partition
        out and, once all are out, sleeps a second.)"""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing, as above."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: the runner watches progress itself."""
