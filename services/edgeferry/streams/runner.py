"""The runner: one ``faust.App`` per processor, all in this process's event loop.

The App's id is the processor's name and so its consumer group: the same node keeps its
offsets whether ten nodes share a process or each has its own.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import faust
from faust.tables import TableManager

from edgeferry.core.errors import AlreadyCommitted, EdgeferryError, Later, Stop
from edgeferry.runtime.service import Health
from edgeferry.streams.delivery import BatchSchema
from edgeferry.streams.processor import Processor
from edgeferry.streams.transport import LogConsumer, LogTransport
from edgeferry.streams.worker import Environment, NodeMetrics, Worker

RESTARTS = 3
RESTART_WINDOW_SECONDS = 600.0
RESTART_PAUSE_SECONDS = 1.0
STALL_SECONDS = 60.0
LOG_SILENT_MS = 30_000
HUNG_SECONDS = 120.0
STOP_SECONDS = 20.0
LAG_INTERVAL_SECONDS = 2.0
NO_FAULTS = (AlreadyCommitted, Later)
"""Started again as often as it takes: another run of the same hop was faster (reading goes on
behind what it committed), or only time helps."""
_READY_POLL_SECONDS = 0.02

log = logging.getLogger(__name__)


class RunnerMetrics(Protocol):
    def node(self, chain: str, node: str) -> NodeMetrics: ...


class Runner:
    """Runs processors until stopped (``runtime.service.Service``)."""

    def __init__(
        self,
        processors: Sequence[Processor],
        transport: LogTransport,
        environment: Environment,
        metrics: RunnerMetrics,
    ) -> None:
        transport.register()
        self._running = [
            RunningApp(
                processor, transport, environment, metrics.node(processor.chain, processor.node)
            )
            for processor in processors
        ]

    @property
    def name(self) -> str:
        return "runner"

    async def start(self) -> None:
        """Return when every App is on its way; partitions come when the log gives them."""
        await asyncio.gather(*(running.start() for running in self._running))

    async def ready(self) -> None:
        """Return when every App has its partitions and reads them."""
        await asyncio.gather(*(running.wait_reading() for running in self._running))

    async def stop(self) -> None:
        """Finish what was begun, commit it, leave the groups."""
        await asyncio.gather(*(running.stop() for running in self._running))

    def health(self) -> Health:
        states = [(running.name, running.problem()) for running in self._running]
        stalled = [name for name, problem in states if problem.startswith("stalled")]
        reading = all(running.reading for running in self._running)
        detail = "; ".join(f"{name}: {problem}" for name, problem in states if problem)
        return Health(alive=not stalled, ready=reading and not detail, detail=detail)


class RunningApp:
    """One processor's App, started again when it stops by itself."""

    def __init__(
        self,
        processor: Processor,
        transport: LogTransport,
        environment: Environment,
        metrics: NodeMetrics,
    ) -> None:
        self.name = processor.name
        self._processor = processor
        self._transport = transport
        self._environment = environment
        self._metrics = metrics
        self._worker = Worker(processor, environment, metrics)
        self._app: Any = None
        self._supervisor: asyncio.Task[None] | None = None
        self._failed: asyncio.Event = asyncio.Event()
        self._error: BaseException | None = None
        self._stopped_for_good = ""
        self._deliveries = 0
        self._delivered_at = environment.clock.monotonic()

    @property
    def reading(self) -> bool:
        """It has its partitions and reads them."""
        return self._app is not None and self._app.consumer.reading.is_set()

    async def wait_reading(self) -> None:
        while not self.reading:
            await asyncio.sleep(_READY_POLL_SECONDS)

    async def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise(), name=f"app {self.name}")

    async def stop(self) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        await self._stop_app()

    def problem(self) -> str:
        """One line for the operator; empty when all is well."""
        if self._stopped_for_good:
            return f"stopped: {self._stopped_for_good}"
        if self._worker.retrying:
            return f"retrying: {self._worker.retrying}"
        since = self._worker.processing_since
        if since is not None and self._environment.clock.monotonic() - since > HUNG_SECONDS:
            return f"stalled: a batch has not come back for over {HUNG_SECONDS:.0f} s"
        if not self.reading:
            return "waiting for its partitions"
        consumer: LogConsumer = self._app.consumer
        if consumer.lost_records:
            return f"{consumer.lost_records} records were deleted before they were read"
        lag = consumer.lag()
        idle = self._environment.clock.monotonic() - self._delivered_at
        if not consumer.answered_since(self._environment.clock.now_ms() - LOG_SILENT_MS):
            return "the log does not answer"
        if lag and idle > STALL_SECONDS and not consumer.in_progress():
            return f"stalled: {lag} records wait, none came for {idle:.0f} s"
        return ""

    async def _supervise(self) -> None:
        stops: deque[float] = deque()
        now = self._environment.clock.monotonic
        while True:
            self._failed.clear()
            try:
                await self._start_app()
                await self._watch()
            except (EdgeferryError, OSError) as error:
                self._error = error
            except Exception as error:
                log.exception("%s: the App failed", self.name)
                self._error = error
            await self._stop_app()
            if not isinstance(self._error, NO_FAULTS):
                stops.append(now())
            while stops and stops[0] < now() - RESTART_WINDOW_SECONDS:
                stops.popleft()
            reason = str(self._error) or repr(self._error)
            if isinstance(self._error, Stop) or len(stops) >= RESTARTS:
                self._stopped_for_good = reason
                log.error("%s stays stopped: %s", self.name, reason)
                return
            log.error("%s stopped and is started again: %s", self.name, reason)
            await asyncio.sleep(RESTART_PAUSE_SECONDS)

    async def _watch(self) -> None:
        """Until the App fails."""
        self._deliveries = 0
        self._delivered_at = self._environment.clock.monotonic()
        consumer: LogConsumer = self._app.consumer
        while not self._failed.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._failed.wait(), LAG_INTERVAL_SECONDS)
            if self._deliveries != consumer.deliveries or not self.reading:
                self._deliveries = consumer.deliveries
                self._delivered_at = self._environment.clock.monotonic()
            lag = consumer.lag() if self.reading else None
            if lag is not None:
                self._metrics.lag(lag)

    async def _start_app(self) -> None:
        def fail(error: BaseException) -> None:
            if self._app is app and not self._failed.is_set():
                self._error = error
                self._failed.set()

        app = self._app = _build_app(self._processor, self._transport, fail)
        # acks=False: nothing reads Faust's own list of acknowledgements, which only grows
        topic = app.topic(*self._processor.topics, schema=BatchSchema(), acks=False)

        async def consume(stream: Any) -> None:
            async for batch in stream:
                # Nothing may leave this loop: Faust would acknowledge and skip the batch.
                try:
                    await self._worker.run(batch)
                    app.consumer.demand.set()
                except asyncio.CancelledError:
                    raise
                except Exception as error:
                    fail(error)
                    await asyncio.Event().wait()

        app.agent(topic, name=f"{self.name}.agent")(consume)
        await app.start()

    async def _stop_app(self) -> None:
        app, self._app = self._app, None
        if app is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                if app.started:
                    await app.consumer.quiesce()
                await app.stop()
        except TimeoutError:
            log.error("%s did not stop within %.0f s and is left behind", self.name, STOP_SECONDS)
        except Exception:
            log.exception("%s: the App did not stop as it should", self.name)


class _NoTables(TableManager):
    """Stock Faust waits a second for tables, of which there are none."""

    logger = logging.getLogger("faust")  # for what Faust says of it, such as that it starts

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


def _build_app(
    processor: Processor, transport: LogTransport, fail: Callable[[BaseException], None]
) -> Any:
    class App(faust.App):
        logger = logging.getLogger("faust")  # for what Faust says of it, such as that it starts

        def _crash(self, reason: BaseException) -> None:
            # also what a part of the App does to it when a task of its own raised
            super()._crash(reason)
            fail(reason)

        def _create_directories(self) -> None:
            """None: they are for tables, and stock Faust makes them in the current folder."""

    return App(
        processor.name,
        broker=transport.url,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_buffer_maxsize=4,
        stream_wait_empty=False,
        loop=asyncio.get_running_loop(),
        TableManager=_NoTables,
        **transport.app_settings(processor.name),
    )
