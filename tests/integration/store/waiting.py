"""Waiting for what a server does by itself: asked again and again, up to a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

DEADLINE_SECONDS = 20.0
_ASK_EVERY_SECONDS = 0.05


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(_ASK_EVERY_SECONDS)
