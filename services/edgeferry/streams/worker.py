"""What happens to one batch: try, retry, split, dead letters, append, done."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from faust.types import TP

from edgeferry.core.clock import Clock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Later, Never, RecordTooLarge, Refused, Stop
from edgeferry.core.record import LogWriter, Outgoing, Record, TransactionalWriter
from edgeferry.log.codec import encode_dead_letter
from edgeferry.log.topics import site_topic
from edgeferry.streams.brake import Brake
from edgeferry.streams.delivery import Batch
from edgeferry.streams.processor import Dead, MakesFailures, Outputs, Processor, TopicPartition
from edgeferry.streams.refusals import Refusals, event_topics, in_turn

BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MAX_SECONDS = 5.0
_ERROR_TEXT_CHARS = 2_000

T = TypeVar("T")

log = logging.getLogger(__name__)


class Braked(Stop):
    """Most of what arrives at this processor fails, from many originators."""


class Abandoned(Exception):
    """The partitions went away while a batch was being retried: it is not ours any more."""


class NodeMetrics(Protocol):
    """What a worker reports, once per batch."""

    def batch(self, records_in: int, records_out: int, seconds: float, age_seconds: float) -> None:
        """A batch is done; ``age_seconds`` from its last record's timestamp."""
        ...

    def retried(self) -> None: ...

    def dead(self, count: int) -> None: ...

    def lag(self, records: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Environment:
    """What all workers of a site share."""

    site: str
    writer: LogWriter
    clock: Clock
    transactions: TransactionalWriter | None = None
    """Where the log has them, a hop's outputs and its offsets become durable as one."""


class Worker:
    """Runs one processor's batches, one at a time, so a retry never overtakes."""

    def __init__(
        self, processor: Processor, environment: Environment, metrics: NodeMetrics
    ) -> None:
        self._processor = processor
        self._environment = environment
        self._metrics = metrics
        self._brake = Brake()
        self._refusals = Refusals(processor.name, environment.clock, environment.writer)
        self._event_topics = event_topics(environment.site)
        self._dead_topic = site_topic(environment.site, "dead-letters")
        self.retrying: str = ""
        self.processing_since: float | None = None

    async def run(self, batch: Batch) -> None:
        """Set ``batch.done`` when all that came of it is durable, or return without, when
        the partitions went away.

        Raises Stop (and Braked), AlreadyCommitted."""
        if batch.abandoned:
            return
        batch.running = True
        try:
            await self._run(batch)
        finally:
            batch.running = False

    async def _run(self, batch: Batch) -> None:
        clock, records = self._environment.clock, batch.records
        began, first_try_ms = clock.monotonic(), clock.now_ms()
        try:
            if batch.assigned is not None:
                await self._assigned(batch, batch.assigned)
            outputs = await self._done(batch, first_try_ms)
        except Abandoned:
            return
        finally:
            self.retrying = ""
        await self._processor.delivered(records)
        batch.done = True
        now = clock.monotonic()
        age = clock.now_ms() / 1000 - records[-1].timestamp / 1000
        self._metrics.batch(len(records), len(outputs.records), now - began, age)
        if outputs.dead:
            self._metrics.dead(len(outputs.dead))
        senders = [
            dead.record.key if dead.sender is None else dead.sender
            for dead in outputs.dead
            if not isinstance(dead.error, Refused)
        ]
        if self._brake.pulled(now, len(records), senders):
            raise Braked(
                f"{self._processor.name} stopped: most of the records of the last seconds became "
                f"dead letters, the last one for: {outputs.dead[-1].error}. Mend the cause, "
                f"restart, then look at `edgeferry dead-letters list` and replay them"
            )

    async def _done(self, batch: Batch, first_try_ms: int) -> Outputs:
        """What the batch led to, once it is durable. What the log refuses of it is the failure
        of the message that made it, and all is done again without. Raises Abandoned, Stop."""
        while True:
            outputs, attempts = await self._attempt(batch)
            letters = [self._letter(dead, first_try_ms, attempts) for dead in outputs.dead]
            try:
                await self._append(batch, outputs.records + letters)
            except RecordTooLarge as error:
                self._refusals.note(error)
            else:
                return outputs

    async def _repeat(self, batch: Batch, step: Callable[[], Awaitable[T]]) -> T:
        """The step's result once it no longer raises Later. Raises Abandoned."""
        backoff = BACKOFF_FIRST_SECONDS
        while True:
            try:
                return await step()
            except Later as error:
                await self._wait(batch, error, backoff)
                backoff = min(backoff * 2, BACKOFF_MAX_SECONDS)

    async def _assigned(self, batch: Batch, offsets: Mapping[TP, int]) -> None:
        committed = {TopicPartition(tp.topic, tp.partition): at for tp, at in offsets.items()}
        await self._repeat(batch, lambda: self._processor.assigned(committed))

    async def _attempt(self, batch: Batch) -> tuple[Outputs, int]:
        """Process until it passes; a record that raises alone becomes a dead letter."""
        attempts = 0

        async def once() -> Outputs:
            nonlocal attempts
            attempts += 1
            outputs = Outputs()
            self.processing_since = self._environment.clock.monotonic()
            try:
                await self._process(batch.records, outputs)
            finally:
                self.processing_since = None
            return outputs

        outputs = await self._repeat(batch, once)
        return outputs, attempts

    async def _process(self, records: Sequence[Record], outputs: Outputs) -> None:
        """Process, splitting around records that raise or lead to what no log can hold, in
        their order.

        Raises Later, Stop."""
        attempt = Outputs()
        try:
            await self._processor.process(records, attempt)
            self._refusals.check(attempt.records)
        except (Later, Stop):
            raise
        except Exception as error:
            if len(records) == 1:
                self._fail(records[0], error, outputs)
                return
            middle = len(records) // 2
            await self._process(records[:middle], outputs)
            await self._process(records[middle:], outputs)
        else:
            outputs.records += attempt.records
            outputs.dead += attempt.dead

    def _fail(self, record: Record, error: Exception, outputs: Outputs) -> None:
        """What one record leads to must not stop all others."""
        if isinstance(error, RecordTooLarge) and isinstance(self._processor, MakesFailures):
            made = Outputs()
            try:
                self._processor.fail(record, error, made)
                self._refusals.check(made.records)
            except RecordTooLarge as worse:
                error = worse
            else:
                outputs.records += made.records
                outputs.dead += made.dead
                return
        if not isinstance(error, Never):
            log.error("%s: a record raised", self._processor.name, exc_info=error)
        outputs.dead.append(Dead(record, error))

    async def _append(self, batch: Batch, records: list[Outgoing]) -> None:
        async def once() -> None:
            environment = self._environment
            if environment.transactions is None:
                for some in in_turn(self._event_topics, records):
                    await environment.writer.append(some)
            else:
                group, done = self._processor.name, batch.spans()
                await environment.transactions.append_and_commit(records, group, done)

        await self._repeat(batch, once)

    async def _wait(self, batch: Batch, error: Exception, seconds: float) -> None:
        if batch.abandoned:
            raise Abandoned from error
        if not self.retrying:
            log.warning("%s: backing off: %s", self._processor.name, error)
        self.retrying = str(error)
        self._metrics.retried()
        await asyncio.sleep(seconds)
        if batch.abandoned:
            raise Abandoned from error

    def _letter(self, dead: Dead, first_try_ms: int, attempts: int) -> Outgoing:
        record, error, _ = dead
        letter = DeadLetter(
            key=record.key,
            value=record.value,
            headers=tuple(record.headers),
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            site=self._environment.site,
            chain=self._processor.chain,
            node=self._processor.node,
            error_class=type(error).__name__,
            error_text=str(error)[:_ERROR_TEXT_CHARS],
            first_failure=first_try_ms,
            last_failure=self._environment.clock.now_ms(),
            attempts=attempts,
        )
        return Outgoing(self._dead_topic, record.key, encode_dead_letter(letter))
