"""Changes of one batch that wait for the store beside each other keep their order where it
counts."""

import asyncio
from dataclasses import replace

from edgeferry.core.changes import CLOUD_ORIGIN, RpcStatus
from edgeferry.core.kv import Scope
from edgeferry.core.store import Rpc, RpcNews, Told
from tests.unit.attributes.memory import DEVICE, MemoryRpcs, Site, change, cloud
from tests.unit.attributes.test_service import done, rpc_change

OTHER = DEVICE[:-1] + "2"


class SlowRpcs(MemoryRpcs):
    """Where the commands of ``DEVICE`` wait; ``calls``: in the order in which they ended."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []

    async def create(self, rpc: Rpc) -> bool:
        await self._wait(rpc.device_id, rpc.rpc_id)
        return await super().create(rpc)

    async def advance(self, news: RpcNews) -> Told | None:
        await self._wait(news.device_id, news.rpc_id)
        return await super().advance(news)

    async def _wait(self, device_id: str, rpc_id: str) -> None:
        for _ in range(50 if device_id == DEVICE else 1):
            await asyncio.sleep(0)
        self.calls.append((device_id, rpc_id))


def slow_site() -> tuple[Site, SlowRpcs]:
    rpcs = SlowRpcs()
    return cloud(rpcs=rpcs), rpcs


def test_a_slow_device_holds_up_no_other_and_both_keep_their_order() -> None:
    site, rpcs = slow_site()
    queued = [
        replace(
            rpc_change(f"{number}", RpcStatus.QUEUED, '{"method": "m"}'),
            rpc_id=f"rpc-{number}",
            device_id=DEVICE if number % 2 else OTHER,
        )
        for number in range(6)
    ]
    done(site, *queued)
    assert rpcs.calls == [
        *((OTHER, f"rpc-{number}") for number in (0, 2, 4)),
        *((DEVICE, f"rpc-{number}") for number in (1, 3, 5)),
    ]
    told = [one.metadata["requestUUID"] for one in site.commands]
    assert told == [f"rpc-{number}" for number in range(6)]


def test_what_follows_leaves_in_the_order_of_the_changes() -> None:
    site, _ = slow_site()
    done(
        site,
        change("1", CLOUD_ORIGIN, Scope.SHARED, {"a": 1}),
        rpc_change("2", RpcStatus.QUEUED, '{"method": "m"}'),
        change("3", CLOUD_ORIGIN, Scope.SHARED, {"a": 2}),
    )
    assert [one.type for one in site.commands] == [
        "ATTRIBUTES_UPDATED",
        "RPC_CALL_FROM_SERVER_TO_DEVICE",
        "ATTRIBUTES_UPDATED",
    ]


def test_a_refused_command_stops_neither_those_behind_it_nor_attributes() -> None:
    site, _ = slow_site()
    done(
        site,
        rpc_change("1", RpcStatus.SENT, ""),
        rpc_change("2", RpcStatus.QUEUED, '{"method": "m"}'),
        change("3", CLOUD_ORIGIN, Scope.SHARED, {"a": 1}),
    )
    assert [dead.record.offset for dead in site.outputs.dead] == [0]
    assert len(site.commands) == 2
