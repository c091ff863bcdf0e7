"""``bench e2e``: devices at the Edge, rows in the Cloud's store, everything between real."""

from edgeferry.core.clock import Clock
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.report import Report
from edgeferry.tools.bench.trial import Offer, trial


async def e2e(installation: Installation, offer: Offer, clock: Clock) -> dict[str, object]:
    """Raises Stop, Later."""
    report = Report("e2e", installation.stands_on())
    outcome = await trial(installation, offer, clock)
    said = outcome.said
    report.add(
        seconds=round(said["seconds"], 3),
        messages=said["published"],
        offered_per_second=offer.rate,
        per_second=round(said["stored"] / said["seconds"], 1),
        **outcome.figures(),
        devices=len(installation.devices),
    )
    report.add_latency(said["latencies"])
    return report.line()
