"""Small services that a site's process needs beside the real ones."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later, Stop, StoreFault
from edgeferry.core.store import Store
from edgeferry.gateway.server import Gateway
from edgeferry.log.port import Log, Topics
from edgeferry.log.topics import TopicSettings
from edgeferry.runtime.background import BackgroundService, BackgroundTask
from edgeferry.runtime.http import HttpServer
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.service import Health, Service
from edgeferry.runtime.settings import Settings
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import EdgeSync
from edgeferry.sync.intake import Intake
from edgeferry.tools.ready import Ready

_PING_SECONDS = 5.0
_LAG_SECONDS = 2.0
_SHOW_SECONDS = 2.0
_TRIM_SECONDS = 60.0
_READY_POLL_SECONDS = 0.005

log = logging.getLogger(__name__)


class LogPart:
    """The log as a service: it waits out its server's absence by itself, so it is alive, and
    not ready while its file cannot be written.

    topics: made at the start when missing, where the log is this process's own file; those of
    a server are made by `edgeferry topics apply`."""

    name = "log"

    def __init__(self, log: Log, topics: Sequence[TopicSettings] = ()) -> None:
        self._log = log
        self._topics = topics

    async def start(self) -> None:
        """Raises LogUnusable, Stop."""
        await self._log.start()
        if self._topics:
            await self._log.topics.ensure(self._topics)

    async def stop(self) -> None:
        await self._log.stop()

    def health(self) -> Health:
        problem = self._log.problem
        return Health(alive=True, ready=not problem, detail=problem)


class StorePart:
    """The store, asked every few seconds whether it answers. That it does not is no reason
    to restart anything, only to say so."""

    name = "store"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._problem = "not started yet"
        self._ping = BackgroundTask("store ping")

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        await self._store.start()
        self._problem = ""
        self._ping.start(self._watch())

    async def stop(self) -> None:
        await self._ping.stop()
        await self._store.stop()

    def health(self) -> Health:
        problem = self._ping.crashed or self._problem
        return Health(alive=not self._ping.crashed, ready=not problem, detail=problem)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PING_SECONDS)
            try:
                await self._store.ping()
            except (Later, StoreFault) as error:
                self._problem = str(error)
            else:
                self._problem = ""


class LagWatch(BackgroundService):
    """How many records wait for the given readers (consumer group -> its topics), whichever
    process they run in. The last figure stands while the log does not answer."""

    name = "lag"

    def __init__(self, topics: Topics, readers: Mapping[str, Sequence[str]]) -> None:
        self._topics = topics
        self._readers = readers
        super().__init__()
        self.total = 0
        self._failing = ""

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LAG_SECONDS)

    async def look(self) -> None:
        try:
            found = await self._topics.lags(self._readers)
            self.total = sum(row.lag for rows in found.values() for row in rows)
        except (Later, Stop):
            return
        except Exception as error:
            if repr(error) != self._failing:
                log.exception("the lag cannot be told, will be tried again")
            self._failing = repr(error)
        else:
            self._failing = ""


class Trim(BackgroundService):
    """Frees the log's disk: records that all readers have committed go once they are older
    than a set time, within which they can be inspected."""

    name = "trim"

    def __init__(
        self,
        topics: Topics,
        readers: Mapping[str, Sequence[str]],
        clock: Clock,
        keep_seconds: float,
    ) -> None:
        self._topics = topics
        self._readers = readers
        self._clock = clock
        self._keep_seconds = keep_seconds
        super().__init__()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(_TRIM_SECONDS, self._keep_seconds))
            await self.trim()

    async def trim(self) -> None:
        before_ms = self._clock.now_ms() - round(self._keep_seconds * 1000)
        try:
            await self._topics.trim(self._readers, before_ms)
        except (Later, Stop) as error:
            log.warning("trimming topics failed, will be tried again: %s", error)
        except Exception:
            log.exception("trimming topics failed, will be tried again")


class _Rising:
    """Turns a total into increments for a counter."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], int] = {}

    def by(self, total: int, *name: str) -> int:
        """0 when it fell, as after a new epoch."""
        before = self._last.get(name, total)
        self._last[name] = total
        return max(0, total - before)


class SyncShow(BackgroundService):
    """Puts the link's status into the metrics every few seconds."""

    name = "sync-metrics"

    def __init__(self, show: "EdgeShow | CloudShow") -> None:
        self._show = show
        super().__init__()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(Later, Stop):
                await self._show.update()
            await asyncio.sleep(_SHOW_SECONDS)


class EdgeShow:
    def __init__(self, sync: EdgeSync, metrics: Metrics) -> None:
        self._sync = sync
        self._metrics = metrics
        self._rising = _Rising()

    async def update(self) -> None:
        status = self._sync.status()
        self._metrics.sync_connected(int(status.connected))
        self._metrics.sending_all(int(status.sending_all))
        for name, lane in status.lanes.items():
            shown = self._metrics.lane(name)
            shown.in_flight(lane.in_flight)
            shown.acked(self._rising.by(lane.acked, name))
            shown.held_by_schema(lane.held_by_schema)


class CloudShow:
    def __init__(self, sync: CloudSync, intake: Intake, metrics: Metrics) -> None:
        self._sync = sync
        self._intake = intake
        self._metrics = metrics
        self._rising = _Rising()

    async def update(self) -> None:
        self._metrics.repeated(self._rising.by(self._intake.repeats, "repeats"))
        edges = await self._sync.edges()
        self._metrics.sync_connected(sum(edge.connected for edge in edges))
        self._metrics.sending_all(sum(edge.sending_all for edge in edges))
        for edge in edges:
            for lane in edge.lanes:
                shown = self._metrics.lane(lane.lane)
                shown.received(self._rising.by(lane.received, edge.id, lane.lane, "received"))
                shown.lost(self._rising.by(lane.lost, edge.id, lane.lane, "lost"))
            for down in edge.down:
                self._metrics.edge_queue(edge.id, down.lane, down.depth, down.lost)


class WhenReady:
    """Last of a process's services: calls ``announce`` when all the others are ready, and
    what that returned at the stop."""

    name = "ready"

    def __init__(
        self,
        others: Sequence[Service],
        settings: Settings,
        announce: Callable[[Ready], Callable[[], None]],
    ) -> None:
        self._others = others
        self._settings = settings
        self._announce = announce
        self._task = BackgroundTask("ready")
        self._undo: Callable[[], None] | None = None

    async def start(self) -> None:
        self._task.start(self._watch())

    async def stop(self) -> None:
        await self._task.stop()
        if self._undo is not None:
            self._undo()

    def health(self) -> Health:
        return Health(alive=True, ready=True, detail=self._task.crashed)

    async def _watch(self) -> None:
        while not all(service.health().ready for service in self._others):
            await asyncio.sleep(_READY_POLL_SECONDS)
        self._undo = self._announce(self._ready())
        await asyncio.Event().wait()

    def _ready(self) -> Ready:
        http = mqtt = sync = ""
        for service in self._others:
            if isinstance(service, HttpServer):
                http = "{}:{}".format(*service.address)
            elif isinstance(service, Gateway):
                mqtt = service.address
            elif isinstance(service, CloudSync):
                sync = f"{self._settings.sync.listen.host}:{service.port}"
        return Ready(
            role=self._settings.role,
            site=self._settings.site,
            pid=os.getpid(),
            http=http,
            mqtt=mqtt,
            sync=sync,
            services=tuple(service.name for service in self._others),
        )
