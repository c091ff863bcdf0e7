"""A device's comings and goings as ThingsBoard tells them: SERVER attributes and the data of
CONNECT_EVENT, DISCONNECT_EVENT, ACTIVITY_EVENT and INACTIVITY_EVENT. Times are ms, 0 for never."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.core.kv import Value

ACTIVE: Final = "active"
LAST_ACTIVITY: Final = "lastActivityTime"
_TIMEOUT: Final = "inactivityTimeout"
STATE_KEYS: Final = (
    ACTIVE,
    "lastConnectTime",
    "lastDisconnectTime",
    LAST_ACTIVITY,
    "inactivityAlarmTime",
    _TIMEOUT,
)


@dataclass(slots=True)
class DeviceState:
    """``timeout_ms``: 0 where the device has none of its own."""

    active: bool = False
    last_connect: int = 0
    last_disconnect: int = 0
    last_activity: int = 0
    inactivity_alarm: int = 0
    timeout_ms: int = 0

    def attributes(self) -> dict[str, Value]:
        """What is kept of it. A time of never is left out."""
        times = {
            "lastConnectTime": self.last_connect,
            "lastDisconnectTime": self.last_disconnect,
            LAST_ACTIVITY: self.last_activity,
        }
        known: dict[str, Value] = {name: time for name, time in times.items() if time}
        return {ACTIVE: self.active, **known, "inactivityAlarmTime": self.inactivity_alarm}

    def told(self, timeout_ms: int) -> dict[str, object]:
        """The data of an event; ``timeout_ms``: where it has none of its own."""
        return {
            ACTIVE: self.active,
            "lastConnectTime": self.last_connect,
            LAST_ACTIVITY: self.last_activity,
            "lastDisconnectTime": self.last_disconnect,
            "lastInactivityAlarmTime": self.inactivity_alarm,
            _TIMEOUT: self.timeout_ms or timeout_ms,
        }


class StoredState(NamedTuple):
    """What the store has of a device: its label, its state, and the attributes as they stand."""

    label: str
    state: DeviceState
    attributes: Mapping[str, Value]


def state_of(attributes: Mapping[str, Value]) -> DeviceState:
    """What is no time counts as never: anybody may write attributes."""

    def time(name: str) -> int:
        value = attributes.get(name)
        return int(value) if type(value) in (int, float) and value > 0 else 0  # type: ignore[operator, arg-type]

    return DeviceState(
        attributes.get(ACTIVE) is True,
        time("lastConnectTime"),
        time("lastDisconnectTime"),
        time(LAST_ACTIVITY),
        time("inactivityAlarmTime"),
        time(_TIMEOUT),
    )
