"""Work on one thing at a time, named by a text; nothing is kept of names that nobody uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Named:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class OneByOne:
    def __init__(self) -> None:
        self._named: dict[str, _Named] = {}

    def __len__(self) -> int:
        return len(self._named)

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        mine = self._named.setdefault(name, _Named())
        mine.users += 1
        try:
            async with mine.lock:
                yield
        finally:
            mine.users -= 1
            if not mine.users:
                del self._named[name]
