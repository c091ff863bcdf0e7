"""Who waits for changes where several processes own some of the partitions each."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from edgeferry.attributes.client import ByPolling, HereOrElsewhere, SubmittedChanges
from edgeferry.core.changes import CLOUD_ORIGIN, Change, RpcChange, RpcStatus
from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.core.store import AttributesStore, EntityStore, RpcStore
from tests.unit.attributes.memory import DEVICE, Site, change, cloud
from tests.unit.attributes.submitting import Log

pytestmark = pytest.mark.asyncio


class Polled(ByPolling):
    looks = 0

    async def is_applied(self, change: Change) -> bool:
        self.looks += 1
        return await super().is_applied(change)


def waiting(site: Site, *here: int) -> tuple[HereOrElsewhere, Polled]:
    """Of one partition; ``here``: those of this process."""
    site.applied.partitions = frozenset(here)
    polling = Polled(
        attributes=cast(AttributesStore, site.attributes),
        entities=cast(EntityStore, site.entities),
        rpcs=cast(RpcStore, site.rpcs),
        clock=SystemClock(),
    )
    return HereOrElsewhere(applied=site.applied, polling=polling, partitions=1), polling


class LateLog(Log):
    """Its owner handles what was appended a moment later."""

    async def append(self, records: Sequence[Outgoing]) -> None:
        await super().append(records)
        asyncio.get_running_loop().call_later(0.05, self.site.handle)


@pytest.mark.parametrize(("here", "asks"), [((0,), False), ((), True)])
async def test_the_store_is_asked_only_where_another_process_is_the_owner(
    here: tuple[int, ...], asks: bool
) -> None:
    site = cloud()
    told, polling = waiting(site, *here)
    log = LateLog(site, handles=False)
    changes = SubmittedChanges(site="site", writer=log, waiting=told, seconds=5)
    await changes.submit([change("1", CLOUD_ORIGIN, upserts={"a": 1})])
    assert site.attributes.state()
    assert (polling.looks > 0) is asks


async def test_who_waits_for_news_of_a_command_is_told_at_once() -> None:
    site = cloud()
    told, _ = waiting(site, 0)
    site.put(RpcChange("1", "t", DEVICE, "rpc-1", RpcStatus.QUEUED, CLOUD_ORIGIN, 1, "{}"))
    news = told.news_of(DEVICE, "rpc-1")
    asyncio.get_running_loop().call_later(0.02, site.handle)
    async with asyncio.timeout(5):
        await news(60)
    assert site.rpcs.known
