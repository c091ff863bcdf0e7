"""One lock for each name, as long as somebody holds it or waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class NamedLocks:
    """For one event loop."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def held(self, *names: str) -> AsyncIterator[None]:
        """All of them, taken in one order by everybody: nobody waits in a circle."""
        locks = [self._locks.setdefault(name, asyncio.Lock()) for name in sorted({*names})]
        async with AsyncExitStack() as stack:
            for lock in locks:
                await stack.enter_async_context(lock)
            yield
