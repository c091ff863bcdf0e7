"""``bench e2e``: devices at the Edge, rows in the Cloud's Cassandra, everything between real.

CPU is told twice. ``cpu_seconds`` belongs to ``seconds`` and ``per_second``: it begins and
ends with the measured phase, the load generator's included. What is on its way at that end
is not in it, what the warm-up left on its way is. ``cpu_seconds_drained`` goes on until
everything published is stored, and is absent when that was never so; it leaves out the load
generator, which then only looks.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.core.record import LogReader, PartitionEnds
from edgeferry.core.store import Store
from edgeferry.log.topics import root_topic
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.store import open_store
from edgeferry.tools.bench.chain_audit import Audit, audit
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.ledger import Comparison, compare, read_ledger
from edgeferry.tools.bench.load import Plan
from edgeferry.tools.bench.report import CpuMeter, Report
from edgeferry.tools.opened import opened_log
from edgeferry.tools.supervise import die_with_parent

DEVICES = 64


@dataclass(frozen=True, slots=True)
class Offer:
    """rate: messages/s, None for as fast as the Cloud stores them."""

    rate: float | None
    seconds: float
    warmup: float


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
async def load_process(plan: Plan, folder: Path) -> AsyncIterator[LoadProcess]:
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


async def e2e(installation: Installation, offer: Offer, clock: Clock) -> dict[str, object]:
    """Raises Stop, Later."""
    report = Report("e2e")
    plan = Plan(
        mqtt=installation.ready["edge"]["mqtt"],
        devices=installation.devices,
        settings=str(installation.cloud_settings),
        ledger=str(installation.data / "ledger.json"),
        rate=offer.rate,
        warmup=offer.warmup,
        seconds=offer.seconds,
    )
    async with examined(installation, clock) as examination:
        async with load_process(plan, installation.data) as load:
            await load.phase("measuring")
            meter, load_meter = CpuMeter(installation.pids()), CpuMeter({"load": load.pid})
            await load.phase("sent")
            at_sent = {**meter.seconds(), **load_meter.seconds()}
            result = await load.phase("drained")
            at_drained = meter.seconds() if "drain_seconds" in result else None
        compared, audited = await examination.compare(Path(plan.ledger))
    per_second = result["stored"] / result["seconds"]
    report.add(
        seconds=round(result["seconds"], 3),
        messages=result["published"],
        offered_per_second=offer.rate,
        per_second=round(per_second, 1),
        drain_seconds=rounded(result.get("drain_seconds")),
        lost=compared.lost,
        duplicates=compared.duplicates,
        extra=compared.extra,
        wrong_values=compared.wrong,
        stale_latest=compared.stale_latest,
        duplicates_into_cloud_chain=audited.duplicates,
        out_of_order=audited.out_of_order,
        cpu_seconds=at_sent,
        cpu_seconds_drained=at_drained,
        devices=len(plan.devices),
    )
    report.add_latency(result["latencies"])
    return report.line()


def rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Examination:
    """Looks at the store and at what entered the Cloud's root chain since it was begun."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reader: LogReader,
        starts: dict[int, PartitionEnds],
    ) -> None:
        self._settings = settings
        self._store = store
        self._reader = reader
        self._starts = starts

    async def compare(self, ledger: Path) -> tuple[Comparison, Audit]:
        """Raises LogUnavailable, StoreUnavailable."""
        latest = not self._settings.root_chain.endswith("history_only")
        compared = await compare(read_ledger(ledger), self._store.timeseries, latest=latest)
        topic = root_topic(self._settings.site)
        return compared, await audit(self._reader, topic, self._starts)


@asynccontextmanager
async def examined(installation: Installation, clock: Clock) -> AsyncIterator[Examination]:
    settings = load_settings(installation.cloud_settings)
    store = open_store(settings=settings.store, data=settings.data, clock=clock)
    await store.start()
    try:
        async with opened_log(settings) as log:
            starts = dict(await log.reader.ends(root_topic(settings.site)))
            yield Examination(settings, store, log.reader, starts)
    finally:
        await store.stop()
