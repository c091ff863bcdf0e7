"""A task that a service keeps running, whose end does not go unnoticed."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from edgeferry.runtime.service import Health

log = logging.getLogger(__name__)


class BackgroundTask:
    """Runs one coroutine; ``crashed`` says why when it ended by itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[Any] | None = None
        self.crashed = ""

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        self.crashed = ""
        self._task = asyncio.create_task(work, name=self._name)
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Cancel it and wait for its end."""
        task, self._task = self._task, None
        if task is None:
            return
        task.remove_done_callback(self._ended)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed while it was stopped", self._name, exc_info=error)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.crashed = "was cancelled"
            return
        error = task.exception()
        self.crashed = f"{type(error).__name__}: {error}" if error else "ended by itself"
        log.error("%s crashed: %s", self._name, self.crashed, exc_info=error)


class BackgroundService:
    """A Service that is one background task: ``run``, given by the subclass, never returns."""

    name: str

    def __init__(self) -> None:
        self._task = BackgroundTask(self.name)

    async def run(self) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        self._task.start(self.run())

    async def stop(self) -> None:
        await self._task.stop()

    def health(self) -> Health:
        crashed = self._task.crashed
        return Health(alive=not crashed, ready=True, detail=crashed)
