"""Tells those who wait in this process what became of their changes."""

import asyncio
from collections.abc import Iterable, Mapping

from edgeferry.core.errors import EntityGone, Never

Waiter = asyncio.Future[Never | None]
"""Its result: why the change was not applied; None: it was."""


class Applied:
    """Waiters by change id, and by the id of a command. For one event loop.

    ``partitions``: of the topic of changes, those whose owner is in this process."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Waiter]] = {}
        self.partitions: frozenset[int] = frozenset()

    def expect(self, change_ids: Iterable[str]) -> dict[str, Waiter]:
        """Before the change is appended, or the news may be missed."""
        loop = asyncio.get_running_loop()
        expected = {id_: loop.create_future() for id_ in change_ids}
        for id_, future in expected.items():
            self._waiting.setdefault(id_, []).append(future)
        return expected

    def forget(self, expected: Mapping[str, Waiter]) -> None:
        """What ``expect`` gave is waited for no more."""
        for id_, future in expected.items():
            waiting = self._waiting.get(id_, [])
            if future in waiting:
                waiting.remove(future)
            if not waiting:
                self._waiting.pop(id_, None)

    def tell(self, change_id: str, error: Never | None = None) -> None:
        """``error``: why it was not applied."""
        for future in self._waiting.pop(change_id, ()):
            if not future.done():
                future.set_result(error)


def check_applied(waiters: Iterable[Waiter]) -> None:
    """Of those that are done. Raises ChangeRefused before EntityGone."""
    errors = [error for one in waiters if one.done() and (error := one.result()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, EntityGone)):
        raise error


def gone(key: tuple[str, str]) -> EntityGone:
    return EntityGone(f"{key[0].capitalize()} with id [{key[1]}] is not found")
