"""Many requests at once, of which none outlives its call."""

import asyncio

import pytest

from edgeferry.core.side_by_side import side_by_side


@pytest.mark.asyncio
async def test_results_come_in_order_and_not_all_run_at_once() -> None:
    running = most = 0

    async def one(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return number

    assert await side_by_side(one(number) for number in range(200)) == list(range(200))
    assert 1 < most < 100


@pytest.mark.asyncio
async def test_an_error_is_raised_when_the_others_have_ended() -> None:
    ended: list[str] = []

    async def fails(text: str) -> None:
        raise ValueError(text)

    async def slow() -> None:
        await asyncio.sleep(0.01)
        ended.append("slow")

    with pytest.raises(ValueError, match="first"):
        await side_by_side([slow(), fails("first"), fails("second")])
    assert ended == ["slow"]
