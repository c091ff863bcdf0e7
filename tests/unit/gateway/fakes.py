"""What the gateway's tests stand on: a log in memory, devices, a client of bytes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeferry.core.changes import RpcChange
from edgeferry.core.clock import Clock, ManualClock, Stamps
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.ids import MessageIds
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Outgoing
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Login
from edgeferry.gateway.metrics import Transport
from edgeferry.gateway.ports import DevicePorts
from edgeferry.log.change_codec import decode_change
from edgeferry.log.codec import decode_message
from edgeferry.runtime.settings import LimitSettings

SITE = "edge"
TENANT = "8f1c6a10-5b1e-11f0-8000-0242ac120002"
TOKEN = "pump-token"
DEVICE = Device("pump-1", "5f6e3a00-5b1e-11f0-8000-0242ac120002", "pump", TOKEN, gateway=True)
OTHER = Device("pump-2", "5f6e3a01-5b1e-11f0-8000-0242ac120002", "pump", "other-token")


class MemoryLog:
    """A log whose appends can be held back (``gate``), fail, or refuse what is too large."""

    def __init__(self, max_record_bytes: int = 1_000_000) -> None:
        self.records: list[Outgoing] = []
        self.appends: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0
        self.bugs = 0
        """So many appends raise what no log should."""
        self.refused = ""
        """Records that hold this text are too large for ever."""
        self._max_record_bytes = max_record_bytes

    @property
    def max_record_bytes(self) -> int:
        return self._max_record_bytes

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("the log is away")
        if self.bugs:
            self.bugs -= 1
            raise ValueError("nobody expected this")
        if self.refused and any(self.refused.encode() in record.value for record in records):
            raise RecordTooLarge("too large for the log")
        self.appends.append(len(records))
        self.records += records

    def messages(self) -> list[RuleMessage]:
        return [decode_message(r.value) for r in self.records if r.topic == f"{SITE}.root"]

    def states(self) -> list[tuple[str, str, str]]:
        """Commands' ids, states and bodies, in order."""
        found = [decode_change(r.value) for r in self.records if r.topic.endswith("-changes")]
        return [(c.rpc_id, str(c.status), c.body) for c in found if isinstance(c, RpcChange)]

    def dead_letters(self) -> list[Outgoing]:
        return [r for r in self.records if r.topic == f"{SITE}.dead-letters"]


@dataclass
class CountedMetrics:
    """Counts in plain numbers; also stands for a metrics implementation in type checks."""

    payloads: int = 0
    rejections: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    open: int = 0
    durable: int = 0
    retries: int = 0
    slow: int = 0

    def received(self, transport: Transport, payloads: int, size: int) -> None:
        self.payloads += payloads

    def rejected(self, transport: Transport, reason: str) -> None:
        self.rejections.append(reason)

    def slowed(self) -> None:
        self.slow += 1

    def dead_lettered(self, reason: str) -> None:
        self.dead.append(reason)

    def connections(self, change: int) -> None:
        self.open += change

    def appended(self, records: int, seconds: float) -> None:
        self.durable += records

    def log_retried(self) -> None:
        self.retries += 1


class FixedDevices:
    """Devices that are known from the start."""

    def __init__(self, *devices: Device) -> None:
        self.problem = ""
        self.forgotten: list[str] = []
        self._changed = False
        self.replace(*devices)
        self._changed = False

    def __len__(self) -> int:
        return len(self._by_token)

    def replace(self, *devices: Device) -> None:
        self._by_token = {device.token: device for device in devices}
        self._changed = True

    def find(self, login: Login) -> Device | None:
        return self._by_token.get(login.user_name)

    async def look(self, login: Login, address: str) -> Device | None:
        return self.find(login)

    def forget(self, device_id: str) -> None:
        self.forgotten.append(device_id)

    def forget_all(self) -> None:
        self.forgotten.append("all")

    async def refresh(self) -> bool:
        changed, self._changed = self._changed, False
        return changed


def make_context(
    log: MemoryLog,
    *,
    devices: FixedDevices | None = None,
    clock: Clock | None = None,
    limits: LimitSettings | None = None,
    metrics: CountedMetrics | None = None,
    ports: DevicePorts | None = None,
) -> GatewayContext:
    clock = clock or ManualClock()
    return GatewayContext(
        site=SITE,
        tenant_id=TENANT,
        writer=log,
        devices=devices if devices is not None else FixedDevices(DEVICE, OTHER),
        clock=clock,
        stamps=Stamps(clock.now_ms),
        ids=MessageIds(),
        limits=limits or LimitSettings(),
        metrics=metrics if metrics is not None else CountedMetrics(),
        ports=ports or DevicePorts(),
    )
