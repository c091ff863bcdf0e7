"""A trial: devices publish at an Edge, undisturbed or not, until all is stored in the Cloud;
then what was published is compared with what is stored.

CPU is told twice. ``cpu_seconds`` belongs to ``seconds`` and ``per_second``: it begins and
ends with the measured phase, the load generator's included. What is on its way at that end
is not in it, what the warm-up left on its way is. ``cpu_seconds_drained`` goes on until
everything published is stored, and is absent when that was never so; it leaves out the load
generator, which then only looks.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.examination import examined
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.load import Plan
from edgeferry.tools.bench.report import CpuMeter
from edgeferry.tools.supervise import die_with_parent

DEVICES = 64

Disturbance = Callable[[CpuMeter], AbstractAsyncContextManager[None]]
"""Lasts for the measured phase; processes that it ends are told to the meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The load. rate: messages/s, None for as fast as the Cloud stores them. messages: the
    measured phase ends with so many, at the latest after ``seconds``. Times in seconds."""

    rate: float | None
    seconds: float
    warmup: float = 0.0
    messages: int | None = None
    drain_timeout: float = 180.0
    sample: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """said: the load generator's figures."""

    said: Mapping[str, Any]
    cpu_seconds: Mapping[str, float]
    cpu_seconds_drained: Mapping[str, float] | None
    found: Mapping[str, object]

    @property
    def drain_seconds(self) -> float | None:
        """None when it never was."""
        seconds = self.said.get("drain_seconds")
        return None if seconds is None else round(seconds, 3)

    def figures(self) -> dict[str, object]:
        """What every trial reports."""
        return {
            "drain_seconds": self.drain_seconds,
            **self.found,
            "cpu_seconds": self.cpu_seconds,
            "cpu_seconds_drained": self.cpu_seconds_drained,
        }


@asynccontextmanager
async def undisturbed(_meter: CpuMeter) -> AsyncIterator[None]:
    yield


async def trial(
    installation: Installation,
    offer: Offer,
    clock: Clock,
    *,
    disturbance: Disturbance = undisturbed,
    hops: bool = False,
) -> Outcome:
    """``hops``: examine every topic of sites on SQLite, too. Raises Stop, Later."""
    plan = Plan(
        mqtt=installation.ready["edge"]["mqtt"],
        devices=installation.devices,
        settings=str(installation.cloud_settings),
        ledger=str(installation.data / "ledger.json"),
        **asdict(offer),
    )
    async with examined(installation, clock) as examination:
        async with _load_process(plan, installation.data) as load:
            await load.phase("measuring")
            meter, load_meter = CpuMeter(installation.pids()), CpuMeter({"load": load.pid})
            async with disturbance(meter):
                await load.phase("sent")
                at_sent = {**meter.seconds(), **load_meter.seconds()}
            said = await load.phase("drained")
            at_drained = meter.seconds() if "drain_seconds" in said else None
        found = await examination.found(Path(plan.ledger), hops=hops)
    return Outcome(said, at_sent, at_drained, found)


class LoadProcess:
    """The load generator's process; ``phase`` waits for the next line of it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def phase(self, name: str) -> dict[str, Any]:
        """Raises Stop when the load generator has failed."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Stop(f"the load generator ended before it was {name}; see its output above")
        said: dict[str, Any] = orjson.loads(line)
        if said["phase"] != name:
            raise Stop(f"the load generator is {said['phase']} where {name} was expected")
        return said


@asynccontextmanager
async def _load_process(plan: Plan, folder: Path) -> AsyncIterator[LoadProcess]:
    plan_file = folder / "load-plan.json"
    plan_file.write_bytes(orjson.dumps(asdict(plan)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edgeferry.tools.bench.load", str(plan_file)),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent(os.getpid()),
        limit=64 * 1024 * 1024,
    )
    try:
        yield LoadProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
