"""``bench crash``: processes are killed at random under load; then what was acknowledged is
compared with what is stored, and on SQLite every topic is searched for what a hop did twice.
With traffic both ways attributes and commands go up and down meanwhile, and what both sites
hold afterwards is compared.

``cpu_seconds`` and ``cpu_seconds_drained`` are those of every trial, over all processes that
a role has had.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from random import Random

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.agreement import compared
from edgeferry.tools.bench.both_ways import BothPlan, BothWays
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.report import CpuMeter, Report, quantile
from edgeferry.tools.bench.trial import Offer, trial

_BACK_SECONDS = 180.0
_POLL_SECONDS = 0.02
_DRAIN_SECONDS = 600.0
_LAST_KILL = 0.97
"""Share of the time within which kills fall, so that the last is under load, too."""


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """roles: whom to kill, as named in the ready line. seed: the same kills again. both: the
    load that goes both ways beside the telemetry, if any."""

    rate: float
    seconds: float
    kills: int = 20
    roles: Sequence[str] = ("edge", "cloud")
    seed: int = 1
    both: BothPlan | None = None

    def moments(self) -> list[tuple[float, str]]:
        """(seconds from the begin, role): each at random within its own part of the time,
        every role as often as the others."""
        random = Random(self.seed)
        roles = [self.roles[i % len(self.roles)] for i in range(self.kills)]
        random.shuffle(roles)
        part = self.seconds * _LAST_KILL / max(1, self.kills)
        return [((i + random.random()) * part, role) for i, role in enumerate(roles)]


async def crash(installation: Installation, plan: CrashPlan, clock: Clock) -> dict[str, object]:
    """Raises Stop, Later."""
    killer = _Killer(installation, plan, clock)
    report = Report("crash", installation.stands_on())
    offer = Offer(rate=plan.rate, seconds=plan.seconds, drain_timeout=_DRAIN_SECONDS, sample=False)
    both: dict[str, object] | None = None
    if plan.both is None:
        outcome = await trial(installation, offer, clock, disturbance=killer.killing, hops=True)
    else:
        load = BothWays(installation, plan.both, clock)

        @asynccontextmanager
        async def disturbance(meter: CpuMeter) -> AsyncIterator[None]:
            async with killer.killing(meter), load.offering():
                yield

        async with compared(installation, clock) as comparison, load.connected():
            outcome = await trial(installation, offer, clock, disturbance=disturbance, hops=True)
            both = {**load.figures(), **asdict(await comparison.quiet(load))}
    said = outcome.said
    report.add(
        seconds=round(said["seconds"], 3),
        messages=said["acked_in_all"],
        published=said["published_in_all"],
        offered_per_second=plan.rate,
        per_second=round(said["acked_in_all"] / said["seconds"], 1),
        **figures(killer.back),
        **outcome.figures(),
        both=both,
        devices=len(installation.devices),
        seed=plan.seed,
    )
    return report.line()


def figures(back: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """Of role -> seconds from each of its kills until it was ready again."""
    every = list(chain.from_iterable(back.values()))
    return {
        "kills": len(every),
        "kills_by_role": {role: len(seconds) for role, seconds in back.items()},
        "recovery_p50_seconds": round(quantile(every, 0.5), 2) if every else None,
        "recovery_max_seconds": round(max(every), 2) if every else None,
        "recovery_by_role": {
            role: {"p50": round(quantile(seconds, 0.5), 2), "max": round(max(seconds), 2)}
            for role, seconds in back.items()
        }
        or None,
    }


class _Killer:
    """back: role -> seconds from each of its kills until it was ready again."""

    def __init__(self, installation: Installation, plan: CrashPlan, clock: Clock) -> None:
        """Raises Stop when there is no such role."""
        running = installation.pids()
        for role in plan.roles:
            if role not in running:
                raise Stop(f"there is no process {role} to kill; there are {', '.join(running)}")
        self._installation = installation
        self._plan = plan
        self._clock = clock
        self._over = asyncio.Event()
        self.back: dict[str, list[float]] = {}

    @asynccontextmanager
    async def killing(self, meter: CpuMeter) -> AsyncIterator[None]:
        """Kills that would fall after it are left out; who is down at its end is awaited."""
        task = asyncio.create_task(self._kill(meter), name="kills")
        try:
            yield
        except BaseException:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        self._over.set()
        await task

    async def _kill(self, meter: CpuMeter) -> None:
        """A role that is still down is awaited before its next kill; it keeps no other one
        from being killed."""
        started, down = self._clock.monotonic(), dict[str, asyncio.Task[None]]()
        async with asyncio.TaskGroup() as group:
            for moment, role in self._plan.moments():
                if role in down:
                    await down[role]
                if await self._over_within(moment - (self._clock.monotonic() - started)):
                    return
                pid = self._installation.pids()[role]
                meter.ending(role)
                os.kill(pid, signal.SIGKILL)
                down[role] = group.create_task(self._until_back(role, pid, meter))

    async def _over_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def _until_back(self, role: str, pid: int, meter: CpuMeter) -> None:
        """Raises Stop."""
        killed = self._clock.monotonic()
        while (now := self._installation.pids().get(role, pid)) == pid:
            if self._clock.monotonic() - killed > _BACK_SECONDS:
                raise Stop(f"{role} was not back {_BACK_SECONDS:.0f} s after it was killed")
            await asyncio.sleep(_POLL_SECONDS)
        self.back.setdefault(role, []).append(self._clock.monotonic() - killed)
        meter.follow({role: now})
