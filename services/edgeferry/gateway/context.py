"""What the gateway takes from the process around it."""

from dataclasses import dataclass, field

from edgeferry.core.admission import Admission
from edgeferry.core.changes import CLOUD_ORIGIN
from edgeferry.core.clock import Clock, Stamps
from edgeferry.core.ids import MessageIds
from edgeferry.core.record import LogWriter
from edgeferry.core.values import PayloadLimits
from edgeferry.gateway.metrics import GatewayMetrics
from edgeferry.gateway.ports import DeviceDirectory, DevicePorts
from edgeferry.gateway.rates import RateLimits, Unlimited


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayContext:
    """``origin``: site id of who decides here, as it stands in changes."""

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
    origin: str = CLOUD_ORIGIN
