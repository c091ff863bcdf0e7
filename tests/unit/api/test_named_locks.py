"""Who waits for whom."""

import asyncio

import pytest

from edgeferry.api.named_locks import NamedLocks

pytestmark = pytest.mark.asyncio


async def test_only_who_wants_the_same_name_waits() -> None:
    locks, order = NamedLocks(), list[str]()
    free = asyncio.Event()

    async def hold(said: str, *names: str) -> None:
        async with locks.held(*names):
            order.append(said)
            if said == "first":
                await free.wait()

    tasks = [
        asyncio.create_task(hold(said, *names))
        for said, *names in (
            ("first", "a", "b"), ("second", "b", "c"), ("third", "c", "b"), ("other", "d"),
        )
    ]  # fmt: skip
    await asyncio.wait(tasks, timeout=0.05)
    assert order == ["first", "other"]
    free.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "other", "second", "third"]
