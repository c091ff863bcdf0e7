"""``bench attributes``: how long a shared attribute takes from the REST call in the Cloud to
the device behind the Edge, and a two-way command there and back.

Both are timed by the caller: an attribute from before its call to the device's callback, a
command from before its call to its answer.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.mqtt_down import DownDevice
from edgeferry.tools.bench.report import CpuMeter, Report, quantile
from edgeferry.tools.bench.rest_client import RestClient

_KEY: Final = "bench"
_KNOWN_SECONDS: Final = 60.0
_LAST_SECONDS: Final = 10.0
"""What is on its way at the end is waited for so long."""
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DownPlan:
    """rate: attributes and commands a second, each. Times in seconds."""

    rate: float
    seconds: float
    warmup: float = 0.0


class _Bed:
    """Devices that are subscribed, and a caller in the Cloud."""

    def __init__(self, installation: Installation, clock: Clock) -> None:
        self._clock = clock
        self._ids = [id_ for id_, _ in installation.devices]
        ready = installation.ready
        self._rest = RestClient(ready["cloud"]["http"], ready["admin"])
        host, _, port = ready["edge"]["mqtt"].rpartition(":")
        self._at = (host, int(port))
        self._devices = [
            DownDevice(index, token, attributes=self._came, command=lambda _, body: body["params"])
            for index, (_, token) in enumerate(installation.devices)
        ]
        self._saved: dict[int, float] = {}
        self._number = 0
        self.attribute_ms: dict[int, float] = {}
        self.command_ms: list[float] = []
        self.repeated = 0
        self.failed = 0

    def _came(self, _device: DownDevice, body: Mapping[str, Any]) -> None:
        number = body.get(_KEY)
        if number in self.attribute_ms:
            self.repeated += 1
        elif number in self._saved:
            self.attribute_ms[number] = (self._clock.monotonic() - self._saved[number]) * 1000

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """And the Cloud sends each of them what is theirs. Raises Stop, OSError."""
        await asyncio.gather(*(device.connect(*self._at) for device in self._devices))
        try:
            for index in range(len(self._ids)):
                await self._known(index)
            yield
        finally:
            for device in self._devices:
                device.close()
            self._rest.close()

    async def _known(self, index: int) -> None:
        upto = self._clock.monotonic() + _KNOWN_SECONDS
        while self._clock.monotonic() < upto:
            number = await self.save_attribute(index)
            for _ in range(20):
                if number in self.attribute_ms:
                    return
                await asyncio.sleep(_POLL_SECONDS)
        raise Stop(f"device {self._ids[index]} got no attribute within {_KNOWN_SECONDS:.0f} s")

    async def save_attribute(self, turn: int) -> int:
        self._number += 1
        number = self._number
        self._saved[number] = self._clock.monotonic()
        path = f"/api/plugins/telemetry/DEVICE/{self._id(turn)}/attributes/SHARED_SCOPE"
        answer = await self._rest.call("POST", path, {_KEY: number})
        if answer.status != 200:
            del self._saved[number]
            self.failed += 1
        return number

    async def send_command(self, turn: int) -> None:
        began = self._clock.monotonic()
        body = {"method": "bench", "params": {"turn": turn}}
        answer = await self._rest.call("POST", f"/api/rpc/twoway/{self._id(turn)}", body)
        if answer.status == 200 and answer.json == body["params"]:
            self.command_ms.append((self._clock.monotonic() - began) * 1000)
        else:
            self.failed += 1

    def _id(self, turn: int) -> str:
        return self._ids[turn % len(self._ids)]

    def forget(self) -> None:
        """What was before is not counted."""
        self._saved.clear()
        self.attribute_ms.clear()
        self.command_ms.clear()
        self.repeated = self.failed = 0

    async def all_came(self) -> None:
        upto = self._clock.monotonic() + _LAST_SECONDS
        while self.waiting and self._clock.monotonic() < upto:
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def waiting(self) -> int:
        return len(self._saved) - len(self.attribute_ms)

    async def offer(self, plan: DownPlan, seconds: float) -> None:
        """Both kinds in turn, evenly; a slow answer holds up no other call."""
        async with asyncio.TaskGroup() as calls:
            began, turn = self._clock.monotonic(), 0
            while (elapsed := self._clock.monotonic() - began) < seconds:
                wait = turn / (2 * plan.rate) - elapsed
                if wait > 0:
                    await asyncio.sleep(wait)
                kind: Callable[[int], Awaitable[object]]
                kind = self.save_attribute if turn % 2 else self.send_command
                calls.create_task(_done(kind(turn // 2)))
                turn += 1


async def _done(call: Awaitable[object]) -> None:
    await call


async def attributes(installation: Installation, plan: DownPlan, clock: Clock) -> dict[str, object]:
    """Raises Stop, OSError, TimeoutError."""
    report = Report("attributes", installation.stands_on())
    bed = _Bed(installation, clock)
    async with bed.connected():
        await bed.offer(plan, plan.warmup)
        await bed.all_came()
        bed.forget()
        meter = CpuMeter({**installation.pids(), "load": os.getpid()})
        began = clock.monotonic()
        await bed.offer(plan, plan.seconds)
        await bed.all_came()
        seconds, used = clock.monotonic() - began, meter.seconds()
    attribute_ms = list(bed.attribute_ms.values())
    messages = len(attribute_ms) + len(bed.command_ms)
    report.add(
        seconds=round(seconds, 3),
        messages=messages,
        offered_per_second=2 * plan.rate,
        per_second=round(messages / seconds, 1),
        lost=bed.waiting + bed.failed,
        duplicates=bed.repeated,
        attribute=summary(attribute_ms),
        command=summary(bed.command_ms),
        cpu_seconds=used,
        devices=len(installation.devices),
    )
    report.add_latency(attribute_ms)
    return report.line()


def summary(milliseconds: Sequence[float]) -> dict[str, object] | None:
    """None where nothing was measured."""
    if not milliseconds:
        return None
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {
        "n": len(milliseconds),
        **{name: round(quantile(milliseconds, share), 2) for name, share in shares.items()},
        "max_ms": round(max(milliseconds), 2),
    }
