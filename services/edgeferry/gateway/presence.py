"""Which devices are there: the first session of a device opens, its last one closes, something
came from it, nothing came for its inactivity time-out.

Each becomes an event for the root chain and a change of SERVER attributes, made every second
and appended like everything else. Other gateways may serve the same devices: before one is
called inactive, the store is asked whether it was seen elsewhere.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edgeferry.core.errors import EdgeferryError, Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender, weight
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.device_state import StoredState
from edgeferry.gateway.devices import Device
from edgeferry.gateway.records import Records
from edgeferry.gateway.watched_devices import MOST_WATCHED, WatchedDevices
from edgeferry.runtime.background import BackgroundTask

_MOST_EVENTS: Final = 100_000
_PER_STEP: Final = 1_000
_STEP_SECONDS: Final = 1.0
_CHECK_MS: Final = 10_000

log = logging.getLogger(__name__)


class _Event(NamedTuple):
    """``there``: the device has connected; else it has disconnected."""

    device: Device
    there: bool
    ms: int


@dataclass(slots=True)
class _News:
    """What came since the last step."""

    events: deque[_Event] = field(default_factory=lambda: deque(maxlen=_MOST_EVENTS))
    seen: dict[str, tuple[Device, int]] = field(default_factory=dict)


class Presence:
    """Without ``ports.states`` it watches nothing."""

    def __init__(self, context: GatewayContext, records: Records, appender: Appender) -> None:
        self._states = context.ports.states
        self._now_ms = context.clock.now_ms
        self._appender = appender
        self._watched = WatchedDevices(context.state_rules, records)
        self._open: dict[str, int] = {}
        self._news = _News()
        self._checked_ms = 0
        self._adopted = False
        self._stopped = self._states is None
        self._task = BackgroundTask("presence")

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def crashed(self) -> str:
        return self._task.crashed

    def start(self) -> None:
        if not self._stopped:
            self._task.start(self._run())

    async def stop(self) -> None:
        """All sessions are about to end; to be called while the log still takes appends."""
        if self._stopped:
            return
        self._stopped = True
        await self._task.stop()
        now = self._now_ms()
        devices = [self._watched.device(device_id) for device_id in self._open]
        self._news.events += [_Event(device, False, now) for device in devices if device]
        self._open.clear()
        self._put([*self._apply(), *self._watched.changes(now, (), at_once=True)])

    def opened(self, device: Device) -> None:
        """A session of the device."""
        count = self._open[device.id] = self._open.get(device.id, 0) + 1
        if count == 1:
            self._tell(device, there=True)

    def closed(self, device: Device) -> None:
        left = self._open.get(device.id, 0) - 1
        if left > 0:
            self._open[device.id] = left
        elif left == 0:
            del self._open[device.id]
            self._tell(device, there=False)

    def seen(self, device: Device) -> None:
        """Something came from it."""
        if not self._stopped:
            self._news.seen[device.id] = (device, self._now_ms())

    async def step(self) -> None:
        """What is due every second. Raises Later (nothing was done)."""
        if not self._appender.available:
            return
        if not self._adopted:
            await self._adopt()
        now, watched = self._now_ms(), self._watched
        await self._learn(self._unknown(), now)
        silent = self._silent(now)
        found = await self._load(silent)
        out = [*self._apply(), *watched.inactive(silent, found, now)]
        self._put([*out, *watched.changes(now, self._open)])

    async def _run(self) -> None:
        while True:
            try:
                await self.step()
            except Later as error:
                log.warning("the states of devices are told later: %s", error)
            await asyncio.sleep(_STEP_SECONDS)

    def _tell(self, device: Device, *, there: bool) -> None:
        if not self._stopped:
            self._news.events.append(_Event(device, there, self._now_ms()))

    async def _adopt(self) -> None:
        """Watch those that were active when nobody watched. Raises Later."""
        assert self._states is not None
        now = self._now_ms()
        for device, stored in await self._states.left_active(MOST_WATCHED):
            if device.id not in self._watched:
                self._watched.add(device, stored, now)
        self._adopted = True

    def _unknown(self) -> dict[str, Device]:
        """Of devices that something came from, as many as are read in one step."""
        unknown: dict[str, Device] = {}
        for device in (
            *(event.device for event in self._news.events),
            *(device for device, _ in self._news.seen.values()),
        ):
            if device.id not in self._watched:
                unknown[device.id] = device
                if len(unknown) >= _PER_STEP:
                    break
        return unknown

    async def _learn(self, devices: Mapping[str, Device], now: int) -> None:
        """Raises Later."""
        found = await self._load(devices)
        gone = set()
        for device_id, device in devices.items():
            stored = found.get(device_id)
            if stored is None or not self._watched.add(device, stored, now):
                gone.add(device_id)
        if gone:  # what came of them tells nothing
            news, self._news = self._news, _News()
            self._news.events += [one for one in news.events if one.device.id not in gone]
            self._news.seen = {id_: one for id_, one in news.seen.items() if id_ not in gone}

    def _silent(self, now: int) -> list[str]:
        if now - self._checked_ms < _CHECK_MS:
            return []
        self._checked_ms = now
        heard = self._news.seen
        return [id_ for id_ in self._watched.silent(now) if id_ not in heard][:_PER_STEP]

    async def _load(self, ids: Iterable[str]) -> Mapping[str, StoredState]:
        """Raises Later."""
        wanted = list(ids)
        return await self._states.load(wanted) if wanted and self._states is not None else {}

    def _apply(self) -> list[Outgoing]:
        """The news of devices that are known now; those of others stay."""
        out: list[Outgoing] = []
        news, self._news = self._news, _News()
        for event in news.events:
            if event.device.id not in self._watched:
                self._news.events.append(event)
            elif event.there:
                out += self._watched.connected(event.device, event.ms)
            else:
                out += self._watched.disconnected(event.device, event.ms)
        for device_id, (device, ms) in news.seen.items():
            if device_id not in self._watched:
                self._news.seen[device_id] = (device, ms)
            else:
                out += self._watched.seen(device, ms)
        return out

    def _put(self, records: list[Outgoing]) -> None:
        if records:
            size = weight(sum(len(record.value) for record in records), len(records))
            self._appender.put(records, size, self._settled)

    def _settled(self, error: EdgeferryError | None) -> None:
        """What was not taken is read again: the store knows better."""
        if error is not None:
            log.warning("states of devices are not in the log: %s", error)
            self._watched.clear()
            self._adopted = False
