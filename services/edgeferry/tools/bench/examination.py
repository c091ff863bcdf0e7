"""What is found after a trial: in the Cloud's store, and in the logs of both sites."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.log.port import Log
from edgeferry.log.topics import root_topic
from edgeferry.runtime.settings import Settings
from edgeferry.store import open_store
from edgeferry.tools.bench import agreement
from edgeferry.tools.bench.chain_audit import Marks, audit, hop_repeats, marks
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.bench.ledger import StoredRows, compare, read_ledger
from edgeferry.tools.opened import opened_log

_FAULTS = (
    *("lost", "extra", "duplicates", "wrong_values", "stale_latest", "out_of_order"),
    "hop_duplicates",
)


def faults(line: Mapping[str, object]) -> list[str]:
    """The figures of a trial's line that must be 0 and are not."""
    both = line.get("both")
    of_both = both if isinstance(both, Mapping) else {}
    return [name for name in _FAULTS if line.get(name, 0) != 0] + [
        name for name in agreement.FAULTS if of_both.get(name, 0) != 0
    ]


@dataclass(frozen=True, slots=True)
class _SiteLog:
    settings: Settings
    log: Log
    since: Marks

    @property
    def root(self) -> str:
        return root_topic(self.settings.site)


class Examination:
    """Looks at what was stored and written since it was begun."""

    def __init__(self, edge: _SiteLog, cloud: _SiteLog, timeseries: StoredRows) -> None:
        self._edge = edge
        self._cloud = cloud
        self._timeseries = timeseries

    async def found(self, ledger: Path, *, hops: bool) -> dict[str, object]:
        """Figures by name. device_repeats: messages that entered the Edge twice, as the device
        had not seen its acknowledgement; hop_duplicates: records that any hop wrote twice, in
        all topics of the sites on SQLite, None where there is no such site. Both with ``hops``.

        Raises LogUnavailable, StoreUnavailable."""
        cloud = self._cloud
        latest = not cloud.settings.root_chain.endswith("history_only")
        compared = await compare(read_ledger(ledger), self._timeseries, latest=latest)
        entered = await audit(cloud.log.reader, cloud.root, cloud.since)
        return {
            "lost": compared.lost,
            "extra": compared.extra,
            "duplicates": compared.duplicates,
            "wrong_values": compared.wrong,
            "stale_latest": compared.stale_latest,
            "out_of_order": entered.out_of_order,
            "duplicates_into_cloud_chain": entered.duplicates,
            **(await self._hops() if hops else {}),
        }

    async def _hops(self) -> dict[str, object]:
        edge = self._edge
        at_the_edge = await audit(edge.log.reader, edge.root, edge.since)
        repeats: dict[str, int] = {}
        for site in (edge, self._cloud):
            if site.log.kind == "sqlite":
                repeats |= await hop_repeats(site.log.reader, site.since)
        return {
            "device_repeats": at_the_edge.duplicates,
            "hop_duplicates": sum(repeats.values()) if repeats else None,
            "hop_duplicates_by_topic": {t: n for t, n in repeats.items() if n} or None,
            "hop_topics": len(repeats) or None,
        }


@asynccontextmanager
async def examined(installation: Installation, clock: Clock) -> AsyncIterator[Examination]:
    """Beside the running sites. Raises Stop, Later."""
    async with AsyncExitStack() as stack:
        settings = installation.settings("cloud")
        store = open_store(settings=settings.store, data=settings.data, clock=clock, read_only=True)
        await store.start()
        stack.push_async_callback(store.stop)
        edge, cloud = [await _site_log(installation.settings(s), stack) for s in ("edge", "cloud")]
        yield Examination(edge, cloud, store.timeseries)


async def _site_log(settings: Settings, stack: AsyncExitStack) -> _SiteLog:
    log = await stack.enter_async_context(opened_log(settings))
    topics = [
        name for name in await log.topics.partitions() if name.startswith(f"{settings.site}.")
    ]
    return _SiteLog(settings, log, await marks(log.reader, topics))
