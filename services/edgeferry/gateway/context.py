"""What the gateway takes from the process around it."""

from dataclasses import dataclass, field
from typing import Protocol

from edgeferry.core.admission import Admission
from edgeferry.core.changes import CLOUD_ORIGIN
from edgeferry.core.clock import Clock, Stamps
from edgeferry.core.ids import MessageIds
from edgeferry.core.record import LogWriter
from edgeferry.core.values import PayloadLimits
from edgeferry.gateway.metrics import GatewayMetrics
from edgeferry.gateway.ports import DeviceDirectory, DevicePorts
from edgeferry.gateway.rates import RateLimits, Unlimited


class StateRules(Protocol):
    """Of devices, in ms: without news for so long they are inactive, where the device has no
    ``inactivityTimeout`` of its own; between two writes of nothing but the last activity."""

    @property
    def inactivity_ms(self) -> int: ...

    @property
    def activity_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class UsualStates:
    """``StateRules`` as the field has them."""

    inactivity_ms: int = 600_000
    activity_ms: int = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """``origin``: site id of who decides here, as it stands in changes. ``devices_per_gateway``:
    so many at once behind one connection."""

    site: str
    tenant_id: str
    writer: LogWriter
    devices: DeviceDirectory
    clock: Clock
    stamps: Stamps
    ids: MessageIds
    limits: PayloadLimits
    metrics: GatewayMetrics
    admission: Admission = field(default_factory=Admission)
    rates: RateLimits = field(default_factory=Unlimited)
    ports: DevicePorts = field(default_factory=DevicePorts)
    state_rules: StateRules = field(default_factory=UsualStates)
    origin: str = CLOUD_ORIGIN
    devices_per_gateway: int = 10_000
