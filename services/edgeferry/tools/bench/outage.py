"""``bench outage``: the link is cut while messages arrive at the Edge; then it is back, and
everything drains. Told: the Edge's memory, its outbox, whether it answers reads meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.runtime.settings import load_settings
from edgeferry.tools.bench.cut_link import CutLink, How
from edgeferry.tools.bench.edge_watch import EdgeWatch, Sample
from edgeferry.tools.bench.installation import Installation, Shape, running
from edgeferry.tools.bench.report import CpuMeter, Report, quantile
from edgeferry.tools.bench.trial import Offer, trial
from edgeferry.tools.options import settings_path

_SLACK = 10
"""The Edge may take so many times as long as the rate says."""
_DRAIN_SECONDS = 900.0
_SHOWN_SECONDS = 15.0
"""Within which the Edge's metrics show what it has sent."""


@dataclass(frozen=True, slots=True)
class OutagePlan:
    """messages: so many arrive while the link is cut. warmup: seconds of the same load with
    the link up before; it fills caches, so that memory is compared with that of an Edge at
    work."""

    messages: int
    rate: float
    warmup: float
    how: How = "refused"


@dataclass(slots=True)
class _Outage:
    """Seconds of the watch."""

    begin: float = 0.0
    end: float = 0.0


@asynccontextmanager
async def linked(
    data: Path, devices: int, options: Sequence[str], shape: Shape
) -> AsyncIterator[tuple[Installation, CutLink]]:
    """An installation whose Edge reaches its Cloud by a link that can be cut. Raises Stop."""

    def cloud() -> tuple[str, int]:
        """Known once ``up`` has chosen it. Raises OSError."""
        file = settings_path(data, "cloud")
        if not file.exists():
            raise ConnectionError("there is no Cloud yet")
        listen = load_settings(file).sync.listen
        return listen.host, listen.port

    link = CutLink(cloud)
    await link.start()
    try:
        environment = {"EDGEFERRY_SYNC__ADDRESS": link.address}
        up = running(data, devices, options, shape=shape, environment=environment)
        async with up as installation:
            yield installation, link
    finally:
        await link.stop()


async def outage(
    installation: Installation, link: CutLink, plan: OutagePlan, clock: Clock
) -> tuple[dict[str, object], list[Sample]]:
    """``link``: what the Edge dials. The line, and what was seen at the Edge over time.

    Raises Stop, Later."""
    report = Report("outage", installation.stands_on())
    watch, times = EdgeWatch(installation, clock), _Outage()

    @asynccontextmanager
    async def cut(_meter: CpuMeter) -> AsyncIterator[None]:
        times.begin = watch.now
        async with link.cut(plan.how):
            yield
        times.end = watch.now

    offer = Offer(
        rate=plan.rate,
        seconds=_SLACK * plan.messages / plan.rate,
        warmup=plan.warmup,
        messages=plan.messages,
        drain_timeout=_DRAIN_SECONDS,
        sample=False,
    )
    async with watch.watching():
        outcome = await trial(installation, offer, clock, disturbance=cut, hops=True)
        await _until_shown(watch)
    said = outcome.said
    report.add(
        seconds=round(said["seconds"], 3),
        messages=said["published"],
        offered_per_second=plan.rate,
        per_second=round(said["published"] / said["seconds"], 1),
        link=plan.how,
        waiting=said["waiting"],
        **seen(watch.samples, times.begin, times.end),
        **outcome.figures(),
        devices=len(installation.devices),
    )
    if outcome.drain_seconds:
        report.add(drain_per_second=round(said["waiting"] / outcome.drain_seconds, 1))
    return report.line(), watch.samples


async def _until_shown(watch: EdgeWatch) -> None:
    """The metrics follow the outbox by seconds."""
    upto = watch.now + _SHOWN_SECONDS
    while watch.now < upto and not (watch.samples and watch.samples[-1].outbox.depth == 0):
        await asyncio.sleep(0.2)


def seen(samples: Sequence[Sample], begin: float, end: float) -> dict[str, object]:
    """Figures of an outage from ``begin`` to ``end``; the last sample before it and the last
    of all stand for before and after. The outbox is fullest when the Edge is back at its
    Cloud, which is later than ``end``."""
    before = [sample for sample in samples if sample.seconds <= begin]
    during = [sample for sample in samples if begin < sample.seconds <= end]
    after = [sample for sample in samples if sample.seconds > end]
    if not (before and during and after):
        return {}
    answered = [sample.read_ms for sample in during if sample.read_ms is not None]
    back = [sample.seconds for sample in after if sample.connected]
    fullest = max([*during, *after], key=lambda sample: sample.outbox.depth)
    return {
        "reconnect_seconds": round(back[0] - end, 1) if back else None,
        "rss_mb": {
            "start": before[-1].rss_mb,
            "half": during[len(during) // 2].rss_mb,
            "cut_end": during[-1].rss_mb,
            "max": max(sample.rss_mb for sample in samples),
            "end": after[-1].rss_mb,
        },
        "outbox": {
            "before": before[-1].outbox._asdict(),
            "during": fullest.outbox._asdict(),
            "after": after[-1].outbox._asdict(),
        },
        "reads": {
            "asked": len(during),
            "answered": len(answered),
            **({"p50_ms": quantile(answered, 0.5), "max_ms": max(answered)} if answered else {}),
        },
    }
