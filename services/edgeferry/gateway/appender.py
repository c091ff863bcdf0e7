"""Group commit for all connections: what came in while one append ran is the next append.

Batches are settled in the order in which they were put, each after its records are
durable. While the log is away the same group is tried again and nothing is settled; when
that takes longer than ``patience`` everything that waits is given up, so that senders are
told (or see no acknowledgement) and send again. An error that nobody expected costs the
group that met it, in the same way, and no other.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, LogUnavailable, RecordTooLarge
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.gateway.metrics import GatewayMetrics

Settle = Callable[[EdgeferryError | None], None]
"""Called once: with None when durable, else with the reason why nothing is promised."""

_RECORD_WEIGHT = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppendRules:
    """Bytes as ``weight`` counts them, and seconds. After ``slow`` we are not ready any more."""

    max_waiting_bytes: int = 64 * 1024 * 1024
    group_bytes: int = 16 * 1024 * 1024
    group_records: int = 10_000
    slow: float = 5.0
    patience: float = 30.0
    first_retry: float = 0.1
    longest_retry: float = 2.0


def weight(payload: int, records: int) -> int:
    """Roughly the memory that a payload of so many bytes takes while its records wait."""
    return payload + _RECORD_WEIGHT * (records + 1)


class _Batch(NamedTuple):
    records: Sequence[Outgoing]
    size: int
    settle: Settle


class Appender:
    def __init__(
        self,
        *,
        writer: LogWriter,
        clock: Clock,
        metrics: GatewayMetrics,
        rules: AppendRules | None = None,
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        self._rules = rules or AppendRules()
        self._waiting: deque[_Batch] = deque()
        self._in_flight: list[_Batch] = []
        self._one_by_one = 0
        self._bytes = 0
        self._started: float | None = None
        self._given_up = False
        self._failure = ""
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._wants_room: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        """False from the moment when waiting batches were given up until the log is back."""
        return self._task is not None and self.alive and not self._given_up

    @property
    def full(self) -> bool:
        """So much waits that nobody should put more before ``when_room`` calls."""
        return self._bytes >= self._rules.max_waiting_bytes

    @property
    def alive(self) -> bool:
        return self._task is None or not self._task.done()

    @property
    def failure(self) -> str:
        """What the log said last, empty while it takes appends."""
        return self._failure

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="gateway-appender")

    async def drained(self, deadline: float) -> None:
        """Return when nothing waits, or nothing is appended any more, after ``deadline`` seconds
        at the latest."""
        if self._task is not None:
            await self._drained(self._task, deadline)

    async def stop(self, deadline: float) -> None:
        """Wait up to ``deadline`` seconds for what waits, then give the rest up."""
        task, self._task = self._task, None
        if task is None:
            return
        await self._drained(task, deadline)
        task.cancel()
        await asyncio.wait([task])
        self._give_up(LogUnavailable("the gateway is stopping"))

    def put(self, records: Sequence[Outgoing], size: int, settle: Settle) -> None:
        """Append after everything put before; no records: only settled in that order."""
        if not self.available:
            settle(LogUnavailable(self._failure or "the gateway is not running"))
            return
        self._waiting.append(_Batch(records, size, settle))
        self._bytes += size
        self._idle.clear()
        self._wake.set()

    async def append(self, records: Sequence[Outgoing], size: int, patience: float) -> None:
        """Return when durable. Raises LogUnavailable after ``patience`` seconds without.

        The records may become durable all the same, later."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: EdgeferryError | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self.put(records, size, settle)
        try:
            await asyncio.wait_for(done, patience)
        except TimeoutError:
            raise LogUnavailable(self._failure or "the log does not answer") from None

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call once when less than half of the allowed bytes wait."""
        self._wants_room.append(callback)

    def check(self) -> None:
        """Give up what has waited longer than patience; to be called every second or so."""
        if not self.alive:
            self._failure = self._failure or "the gateway appends nothing any more"
            self._give_up(LogUnavailable(self._failure))
            return
        started = self._started
        if started is None or self._given_up:
            return
        waited = self._clock.monotonic() - started
        if waited > self._rules.slow:
            self._failure = self._failure or f"no answer for {waited:.0f} s"
        if waited > self._rules.patience:
            self._given_up = True
            log.error("the log takes no appends, acknowledging nothing: %s", self._failure)
            self._give_up(LogUnavailable(self._failure))

    async def _drained(self, task: asyncio.Task[None], deadline: float) -> None:
        if not task.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), deadline)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            while self._waiting:
                await self._append(self._next_group())
            self._wake.clear()
            self._idle.set()

    def _next_group(self) -> list[_Batch]:
        rules, waiting = self._rules, self._waiting
        group: list[_Batch] = []
        records = size = 0
        if self._one_by_one:
            self._one_by_one -= 1
            return [waiting.popleft()]
        while waiting and records < rules.group_records and size < rules.group_bytes:
            batch = waiting.popleft()
            group.append(batch)
            records += len(batch.records)
            size += batch.size
        return group

    async def _append(self, group: list[_Batch]) -> None:
        self._in_flight = group
        self._started = started = self._clock.monotonic()
        try:
            records = [record for batch in group for record in batch.records]
            if records:
                await self._durable(records)
                self._metrics.appended(len(records), self._clock.monotonic() - started)
        except RecordTooLarge as error:
            if len(self._in_flight) > 1:
                # find out whose it is, in the same order
                self._one_by_one = len(self._in_flight)
                self._waiting.extendleft(reversed(self._in_flight))
                self._in_flight = []
            else:
                log.error("the log refuses a record for good: %s", error)
                self._settle(error)
        except Exception as error:  # a bug here or in the writer costs this group alone
            log.exception("an append failed, acknowledging nothing of it")
            self._settle(LogUnavailable(f"the append failed: {error!r}"))
        else:
            self._settle(None)
        finally:
            self._started = None
        self._given_up = False
        self._failure = ""

    async def _durable(self, records: Sequence[Outgoing]) -> None:
        pause = self._rules.first_retry
        while True:
            try:
                await self._writer.append(records)
            except LogUnavailable as error:
                if not self._failure:
                    log.warning("the log does not take an append, trying again: %s", error)
                self._failure = str(error)
                self._metrics.log_retried()
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._rules.longest_retry)
            else:
                return

    def _give_up(self, error: LogUnavailable) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        self._one_by_one = 0
        self._settle(error)
        self._in_flight = waiting
        self._settle(error)

    def _settle(self, error: EdgeferryError | None) -> None:
        batches, self._in_flight = self._in_flight, []
        for batch in batches:
            self._bytes -= batch.size
            _call(batch.settle, error)
        if self._wants_room and 2 * self._bytes < self._rules.max_waiting_bytes:
            callbacks, self._wants_room = self._wants_room, []
            for callback in callbacks:
                _call(callback)


def _call(callback: Callable[..., None], *arguments: object) -> None:
    """What one sender's callback raises is not to reach the others."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("a sender could not be told about its append")
