"""Devices that are active or connected: what follows when something is heard of one, or nothing
for too long. No I/O and no clock: events for the root chain and changes of SERVER attributes
come out as records."""

import logging
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgeferry.core.kv import Value
from edgeferry.core.message_type import MessageType
from edgeferry.core.record import Outgoing
from edgeferry.gateway.context import StateRules
from edgeferry.gateway.device_state import ACTIVE, LAST_ACTIVITY, DeviceState, StoredState
from edgeferry.gateway.devices import Device
from edgeferry.gateway.records import Records

MOST_WATCHED: Final = 100_000
_BETWEEN_CHANGES_MS: Final = 10_000
"""Of one device's attributes, unless it becomes active or inactive."""
_AT_FIRST: Final[Mapping[str, Value]] = {"inactivityAlarmTime": 0}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Watched:
    """``since``: before then nobody would have heard of it. ``written``: attributes as they
    stand, the last at ``written_ms``."""

    device: Device
    label: str
    state: DeviceState
    since: int
    written: dict[str, Value]
    written_ms: int = 0


class WatchedDevices:
    """By id. What is known of others stands in the store."""

    def __init__(self, rules: StateRules, records: Records) -> None:
        self._rules = rules
        self._records = records
        self._watched: dict[str, _Watched] = {}
        self._waiting: set[str] = set()
        """Those with changes that are not written yet."""
        self._full_told = False

    def __len__(self) -> int:
        return len(self._watched)

    def __contains__(self, device_id: str) -> bool:
        return device_id in self._watched

    def device(self, device_id: str) -> Device | None:
        watched = self._watched.get(device_id)
        return watched.device if watched is not None else None

    def add(self, device: Device, stored: StoredState, now: int) -> bool:
        """False: there are too many."""
        if len(self._watched) >= MOST_WATCHED:
            if not self._full_told:
                self._full_told = True
                log.warning(
                    "%d devices are active: the states of others are not told", MOST_WATCHED
                )
            return False
        attributes = dict(stored.attributes)
        self._watched[device.id] = _Watched(device, stored.label, stored.state, now, attributes)
        return True

    def clear(self) -> None:
        self._watched.clear()
        self._waiting.clear()

    def connected(self, device: Device, ms: int) -> list[Outgoing]:
        watched = self._known(device)
        watched.state.last_connect = ms
        self._waiting.add(device.id)
        return [self._event(watched, MessageType.CONNECT_EVENT, ms), *self.seen(device, ms)]

    def disconnected(self, device: Device, ms: int) -> list[Outgoing]:
        watched = self._known(device)
        watched.state.last_disconnect = ms
        self._waiting.add(device.id)
        return [self._event(watched, MessageType.DISCONNECT_EVENT, ms)]

    def seen(self, device: Device, ms: int) -> list[Outgoing]:
        """Something came from it."""
        watched = self._known(device)
        state = watched.state
        state.last_activity = max(ms, state.last_activity)
        if state.active:
            if ms - watched.written_ms >= self._patience(state):
                self._waiting.add(device.id)
            return []
        state.active = True
        if state.last_activity <= state.inactivity_alarm:
            state.inactivity_alarm = 0
        self._waiting.add(device.id)
        return [self._event(watched, MessageType.ACTIVITY_EVENT, ms)]

    def silent(self, now: int) -> list[str]:
        """Whose time-out is over, as far as is known here."""
        return [id_ for id_, one in self._watched.items() if self._is_over(one, now)]

    def inactive(
        self, silent: Iterable[str], found: Mapping[str, StoredState], now: int
    ) -> list[Outgoing]:
        """Of those that were silent, after the store was asked."""
        out: list[Outgoing] = []
        for device_id in silent:
            watched, stored = self._watched.get(device_id), found.get(device_id)
            if watched is None or stored is None:
                self._watched.pop(device_id, None)
                self._waiting.discard(device_id)
                continue
            state, theirs = watched.state, stored.state
            watched.label, watched.written = stored.label, dict(stored.attributes)
            state.timeout_ms = theirs.timeout_ms
            state.last_activity = max(state.last_activity, theirs.last_activity)
            if not self._is_over(watched, now):  # another gateway has it, or it has more time now
                continue
            if not theirs.active and theirs.inactivity_alarm >= state.last_activity:
                state.active, state.inactivity_alarm = False, theirs.inactivity_alarm
            elif state.active:
                state.active, state.inactivity_alarm = False, now
                out.append(self._event(watched, MessageType.INACTIVITY_EVENT, now))
            self._waiting.add(device_id)
            watched.since = now  # a session that says nothing is looked at again after as long
        return out

    def changes(
        self, now: int, connected: Container[str], *, at_once: bool = False
    ) -> list[Outgoing]:
        """What has to be written now. Who is neither active nor connected is watched no longer."""
        return [
            self._records.state_change(device, values, now)
            for device, values in (
                self._change(device_id, now, connected, at_once)
                for device_id in list(self._waiting)
            )
            if values
        ]

    def _change(
        self, device_id: str, now: int, connected: Container[str], at_once: bool
    ) -> tuple[Device, dict[str, Value]]:
        watched = self._watched[device_id]
        written, wanted = watched.written, watched.state.attributes()
        new = {k: v for k, v in wanted.items() if written.get(k, _AT_FIRST.get(k)) != v}
        only_activity = list(new) == [LAST_ACTIVITY]
        patience = self._patience(watched.state) if only_activity else _BETWEEN_CHANGES_MS
        due = at_once or ACTIVE in new or not new or now - watched.written_ms >= patience
        if due or only_activity:  # of its activity the next sign will tell
            self._waiting.discard(device_id)
        if not due:
            return watched.device, {}
        if new:
            written |= new
            watched.written_ms = now
        if not watched.state.active and device_id not in connected:
            del self._watched[device_id]
        return watched.device, new

    def _known(self, device: Device) -> _Watched:
        watched = self._watched[device.id]
        watched.device = device
        return watched

    def _is_over(self, watched: _Watched, now: int) -> bool:
        last = max(watched.state.last_activity, watched.since)
        return now >= last + self._timeout(watched.state)

    def _timeout(self, state: DeviceState) -> int:
        return state.timeout_ms or self._rules.inactivity_ms

    def _patience(self, state: DeviceState) -> int:
        """Between two writes of nothing but the last activity."""
        return min(self._rules.activity_ms, self._timeout(state) // 2)

    def _event(self, watched: _Watched, type_: MessageType, ms: int) -> Outgoing:
        told = watched.state.told(self._rules.inactivity_ms)
        if type_ is MessageType.CONNECT_EVENT:
            del told[ACTIVE]
        return self._records.state_event(watched.device, watched.label, type_, told, ms)
