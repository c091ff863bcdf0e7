"""Tells those who wait in this process that their changes are applied."""

import asyncio
from collections.abc import Iterable


class Applied:
    """Waiters by change id. For one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[None]] = {}

    def expect(self, change_ids: Iterable[str]) -> list[asyncio.Future[None]]:
        """Before the change is appended, or the news may be missed. Two who wait for one
        change share a future: wait with ``asyncio.wait``, which cancels none."""
        loop = asyncio.get_running_loop()
        return [
            self._waiting.setdefault(id_, loop.create_future())
            for id_ in dict.fromkeys(change_ids)
        ]

    def forget(self, change_ids: Iterable[str]) -> None:
        for id_ in change_ids:
            self._waiting.pop(id_, None)

    def tell(self, change_id: str) -> None:
        future = self._waiting.pop(change_id, None)
        if future is not None and not future.done():
            future.set_result(None)
