"""Tells those who wait in this process that their changes are applied."""

import asyncio
from collections.abc import Iterable, Mapping


class Applied:
    """Waiters by change id, and by the id of a command. For one event loop.

    ``partitions``: of the topic of changes, those whose owner is in this process."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self.partitions: frozenset[int] = frozenset()

    def expect(self, change_ids: Iterable[str]) -> dict[str, asyncio.Future[None]]:
        """Before the change is appended, or the news may be missed."""
        loop = asyncio.get_running_loop()
        expected = {id_: loop.create_future() for id_ in change_ids}
        for id_, future in expected.items():
            self._waiting.setdefault(id_, []).append(future)
        return expected

    def forget(self, expected: Mapping[str, asyncio.Future[None]]) -> None:
        """What ``expect`` gave is waited for no more."""
        for id_, future in expected.items():
            waiting = self._waiting.get(id_, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(id_, None)

    def tell(self, change_id: str) -> None:
        for future in self._waiting.pop(change_id, ()):
            if not future.done():
                future.set_result(None)
