"""``bench crash``: processes are killed at random under load; then what was acknowledged is
compared with what is stored.

``cpu_seconds`` and ``cpu_seconds_drained`` are those of ``bench e2e``, over all processes
that a role has had.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.e2e import examined, load_process, rounded
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.load import Plan
from edgeferry.tools.bench.report import CpuMeter, Report, quantile

_BACK_SECONDS = 180.0
_POLL_SECONDS = 0.05
_DRAIN_SECONDS = 600.0
_FAULTS = ("lost", "extra", "duplicates", "wrong_values", "stale_latest", "out_of_order")


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """roles: whom to kill, as named in the ready line. pauses: seconds between the return of
    one and the next kill, from and to. seed: the same kills again."""

    rate: float
    seconds: float
    roles: Sequence[str] = ("edge", "cloud")
    pauses: tuple[float, float] = (2.0, 8.0)
    seed: int = 1


@dataclass(slots=True)
class Kills:
    """back: seconds from each kill until that role was ready again."""

    meter: CpuMeter
    count: dict[str, int] = field(default_factory=dict)
    back: list[float] = field(default_factory=list)


def faults(line: Mapping[str, object]) -> list[str]:
    """The figures of a result that must be 0 and are not."""
    return [name for name in _FAULTS if line[name] != 0]


async def crash(installation: Installation, plan: CrashPlan, clock: Clock) -> dict[str, object]:
    """Raises Stop, Later."""
    report = Report("crash")
    load_plan = Plan(
        mqtt=installation.ready["edge"]["mqtt"],
        devices=installation.devices,
        settings=str(installation.cloud_settings),
        ledger=str(installation.data / "ledger.json"),
        rate=plan.rate,
        warmup=0.0,
        seconds=plan.seconds,
        drain_timeout=_DRAIN_SECONDS,
        sample=False,
    )
    async with examined(installation, clock) as examination:
        async with load_process(load_plan, installation.data) as load:
            await load.phase("measuring")
            kills, load_meter = Kills(CpuMeter(installation.pids())), CpuMeter({"load": load.pid})
            killing = asyncio.create_task(_kill_at_random(installation, plan, clock, kills))
            try:
                await load.phase("sent")
            finally:
                killing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await killing
            at_sent = {**kills.meter.seconds(), **load_meter.seconds()}
            result = await load.phase("drained")
            kills.meter.follow(installation.pids())
            at_drained = kills.meter.seconds() if "drain_seconds" in result else None
        compared, audited = await examination.compare(Path(load_plan.ledger))
    report.add(
        seconds=round(result["seconds"], 3),
        messages=result["acked_in_all"],
        published=result["published_in_all"],
        offered_per_second=plan.rate,
        per_second=round(result["acked_in_all"] / result["seconds"], 1),
        drain_seconds=rounded(result.get("drain_seconds")),
        kills=sum(kills.count.values()),
        kills_by_role=kills.count,
        lost=compared.lost,
        extra=compared.extra,
        duplicates=compared.duplicates,
        wrong_values=compared.wrong,
        stale_latest=compared.stale_latest,
        out_of_order=audited.out_of_order,
        duplicates_into_cloud_chain=audited.duplicates,
        cpu_seconds=at_sent,
        cpu_seconds_drained=at_drained,
        devices=len(load_plan.devices),
        seed=plan.seed,
    )
    if kills.back:
        report.add(
            recovery_p50_seconds=round(quantile(kills.back, 0.5), 2),
            recovery_max_seconds=round(max(kills.back), 2),
        )
    return report.line()


async def _kill_at_random(
    installation: Installation, plan: CrashPlan, clock: Clock, kills: Kills
) -> None:
    random = Random(plan.seed)
    while True:
        await asyncio.sleep(random.uniform(*plan.pauses))
        role = random.choice(list(plan.roles))
        pid = installation.pids().get(role)
        if pid is None:
            raise Stop(f"there is no process {role}; there are {', '.join(installation.pids())}")
        kills.meter.ending(role)
        os.kill(pid, signal.SIGKILL)
        killed = clock.monotonic()
        kills.count[role] = kills.count.get(role, 0) + 1
        while installation.pids().get(role) in (None, pid):
            if clock.monotonic() - killed > _BACK_SECONDS:
                raise Stop(f"{role} was not back {_BACK_SECONDS:.0f} s after it was killed")
            await asyncio.sleep(_POLL_SECONDS)
        kills.back.append(clock.monotonic() - killed)
        kills.meter.follow(installation.pids())
