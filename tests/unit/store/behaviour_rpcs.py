"""Commands for devices: kept, and their state only rises."""

import pytest

from edgeferry.core.changes import RpcStatus, attempt_body
from edgeferry.core.errors import Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Rpc, RpcNews, RpcStore
from tests.unit.store.bench import Bench, T

QUEUED, SENT, DELIVERED = RpcStatus.QUEUED, RpcStatus.SENT, RpcStatus.DELIVERED
DELETED = RpcStatus.DELETED


def rpc(device: str, created: int = T, status: RpcStatus = QUEUED) -> Rpc:
    return Rpc(new_entity_id(), "tenant", device, status, '{"method": "ä"}', "", created, T, "e1")


async def advance(
    store: RpcStore, of: Rpc, status: RpcStatus, answer: str, now_ms: int, event_id: str
) -> Rpc | None:
    """What stands after the news."""
    news = RpcNews(of.rpc_id, of.device_id, status, answer, now_ms, event_id)
    told = await store.advance(news)
    return told.now if told is not None else None


class RpcBehaviour:
    @pytest.mark.asyncio
    async def test_a_command_is_kept_once(self, bench: Bench) -> None:
        made = rpc(new_entity_id())
        assert await bench.store.rpcs.create(made)
        await bench.reopen()
        assert not await bench.store.rpcs.create(made._replace(request="{}"))
        found = await bench.store.rpcs.get(made.rpc_id)
        assert found == made
        assert found is not None
        assert type(found.status) is RpcStatus
        assert await bench.store.rpcs.get(new_entity_id()) is None

    @pytest.mark.asyncio
    async def test_a_state_only_rises(self, bench: Bench) -> None:
        store, made = bench.store.rpcs, rpc(new_entity_id())
        await store.create(made)

        async def news(status: RpcStatus, number: int) -> Rpc | None:
            return await advance(store, made, status, f"{number}", T + number, f"e{number}")

        delivered = made._replace(status=DELIVERED, answer="2", updated_ms=T + 2, event_id="e2")
        assert await news(DELIVERED, 2) == delivered
        for late in (QUEUED, SENT, DELIVERED):
            assert await news(late, 3) == delivered
        assert (await news(RpcStatus.TIMEOUT, 4)) != delivered
        failed = await news(RpcStatus.FAILED, 5)
        assert failed is not None
        assert failed.status is RpcStatus.FAILED
        assert await news(RpcStatus.EXPIRED, 5) == failed
        answered = await news(RpcStatus.SUCCESSFUL, 6)
        assert answered == await store.get(made.rpc_id)
        assert answered is not None
        assert (answered.status, answered.answer) == (RpcStatus.SUCCESSFUL, "6")
        assert await advance(store, rpc(new_entity_id()), SENT, "", T, "e") is None
        other = made._replace(device_id=new_entity_id())
        assert await advance(store, other, RpcStatus.DELETED, "", T, "e") == answered

    @pytest.mark.asyncio
    async def test_the_queued_ones_of_a_device_wait_in_order(self, bench: Bench) -> None:
        store, device = bench.store.rpcs, new_entity_id()
        made = [rpc(device, T + i) for i in range(4)]
        for one in (made[2], made[0], made[3], made[1], rpc(new_entity_id())):
            await store.create(one)
        await advance(store, made[1], SENT, "", T, "e")
        assert await store.pending(device) == [made[0], made[2], made[3]]
        assert await store.pending(new_entity_id()) == []

    @pytest.mark.asyncio
    async def test_the_commands_of_a_device_are_paged(self, bench: Bench) -> None:
        store, device = bench.store.rpcs, new_entity_id()
        made = [rpc(device, T + i) for i in range(5)]
        for one in made:
            await store.create(one)
        assert await store.page(device, None, 2, 0) == ([made[4], made[3]], 5)
        assert await store.page(device, None, 2, 4) == ([made[0]], 5)
        sent = await advance(store, made[2], SENT, "", T, "e")
        assert await store.page(device, SENT, 2, 0) == ([sent], 1)
        queued, total = await store.page(device, QUEUED, 2, 1)
        assert ([one.rpc_id for one in queued], total) == ([made[3].rpc_id, made[1].rpc_id], 4)
        gone = await advance(store, made[4], DELETED, "", T, "e")
        assert await store.page(device, None, 1, 0) == ([made[3]], 4)
        assert await store.page(device, DELETED, 1, 0) == ([gone], 1)

    @pytest.mark.asyncio
    async def test_only_a_later_attempt_is_sent_again(self, bench: Bench) -> None:
        store, made = bench.store.rpcs, rpc(new_entity_id())
        await store.create(made)

        async def sent(attempt: int, event: str) -> str:
            stands = await advance(store, made, SENT, attempt_body(attempt), T, event)
            assert stands is not None
            return stands.event_id

        assert [await sent(*one) for one in ((1, "a"), (1, "b"), (2, "c"), (2, "d"), (1, "e"))] == [
            *("a", "a", "c", "c", "c")
        ]

    @pytest.mark.asyncio
    async def test_open_commands_whose_time_is_over_are_found_in_order(self, bench: Bench) -> None:
        store, device = bench.store.rpcs, new_entity_id()

        async def made(ends_ms: int) -> Rpc:
            one = rpc(device)._replace(request=f'{{"expirationTime": {ends_ms}}}')
            await store.create(one)
            return one

        async def due(now_ms: int, limit: int = 9) -> list[str]:
            return [one.rpc_id for one in await store.due(now_ms, limit)]

        second, never, first = await made(T + 7_200_000), await made(0), await made(T + 1)
        later = await made(T + 9_000_000)
        assert await due(T) == []
        assert await due(T + 8_000_000) == [first.rpc_id, second.rpc_id]
        await bench.reopen()
        store = bench.store.rpcs
        assert await due(T + 8_000_000, 1) == [first.rpc_id]
        await advance(store, first, RpcStatus.EXPIRED, "", T, "e")
        await advance(store, second, DELIVERED, "", T, "e")
        assert await due(T + 8_000_000) == [second.rpc_id]
        old = await made(1)
        assert await due(T + 9_000_000) == [old.rpc_id, second.rpc_id, later.rpc_id]
        for one in (old, second, later):
            await advance(store, one, RpcStatus.SUCCESSFUL, "", T, "e")
        assert await due(T + 9_000_000) == []
        assert await store.get(never.rpc_id) == never

    @pytest.mark.asyncio
    async def test_what_no_store_can_hold_is_refused(self, bench: Bench) -> None:
        store, made = bench.store.rpcs, rpc(new_entity_id())
        for bad in (made._replace(device_id=""), made._replace(request="\ud800")):
            with pytest.raises(Unstorable):
                await store.create(bad)
        await store.create(made)
        with pytest.raises(Unstorable):
            await advance(store, made, SENT, "\ud800", T, "e")
