"""What devices ask for beside their publishes: so many questions at once of one client, and so
many of all. A client that has more of them is not read any further until one is answered."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from edgeferry.core.record import Outgoing
from edgeferry.gateway.not_yet import NotYet

MOST: Final = 5_000
MOST_OF_ONE: Final = 100
"""Of one client, with all devices behind it."""

Work = Callable[[], Coroutine[Any, Any, None]]
Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Questions:
    """``spawn``: does it beside what comes next."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._open = 0
        self._own: dict[str, int] = {}
        self._waiting: dict[asyncio.Future[None], str] = {}

    def __len__(self) -> int:
        return self._open

    def ask(self, asker_id: str, work: Work) -> None:
        """Raises NotYet."""
        if not self._has_room(asker_id):
            raise NotYet(lambda: self._ask_later(asker_id, work))
        self._begin(asker_id, work)

    async def _ask_later(self, asker_id: str, work: Work) -> list[Outgoing]:
        while not self._has_room(asker_id):
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting[room] = asker_id
            try:
                await room
            except asyncio.CancelledError:
                self._waiting.pop(room, None)
                self._tell_one()
                raise
        self._begin(asker_id, work)
        return []

    def _has_room(self, asker_id: str) -> bool:
        return self._open < MOST and self._own.get(asker_id, 0) < MOST_OF_ONE

    def _begin(self, asker_id: str, work: Work) -> None:
        self._open += 1
        self._own[asker_id] = self._own.get(asker_id, 0) + 1
        self._spawn(work()).add_done_callback(lambda _: self._answered(asker_id))

    def _answered(self, asker_id: str) -> None:
        self._open -= 1
        left = self._own[asker_id] - 1
        if left:
            self._own[asker_id] = left
        else:
            del self._own[asker_id]
        self._tell_one()

    def _tell_one(self) -> None:
        """The first of those that have room now."""
        for room, asker_id in self._waiting.items():
            if self._has_room(asker_id):
                del self._waiting[room]
                if not room.done():
                    room.set_result(None)
                return
