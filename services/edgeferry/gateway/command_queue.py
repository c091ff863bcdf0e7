"""Commands on their way to the sessions here: those of a device in order, each claimed first.

A claim makes a command SENT, durably and by the one owner of commands, before a session gets it
(at most once). A process that is killed between the two leaves it SENT: it is not sent again,
unless it has ``retries``, and its time ends it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from edgeferry.core.errors import Later
from edgeferry.gateway.commands import CommandDesk
from edgeferry.gateway.ports import Command, Commands, DeviceLink

_RETRY_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


class CommandQueue:
    """``link_of``: the link of a device that takes commands now. ``spawn``: does it beside
    what comes next."""

    def __init__(
        self,
        *,
        desk: CommandDesk,
        kept: Commands,
        link_of: Callable[[str], DeviceLink | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._desk = desk
        self._kept = kept
        self._link_of = link_of
        self._spawn = spawn
        self._waiting: dict[str, dict[str, Command]] = {}

    def put(self, device_id: str, command: Command) -> None:
        """Nothing where the device has no link: the command waits where it is kept."""
        waiting = self._waiting.get(device_id)
        if waiting is not None:
            waiting.setdefault(command.rpc_id, command)
        elif self._link_of(device_id) is not None:
            self._waiting[device_id] = {command.rpc_id: command}
            self._spawn(self._send_all(device_id))

    async def _send_all(self, device_id: str) -> None:
        """One by one: a session may take no more, and what was claimed for nothing is lost."""
        waiting = self._waiting[device_id]
        try:
            while waiting and self._link_of(device_id) is not None:
                command = next(iter(waiting.values()))
                try:
                    await self._send(device_id, command)
                except Later as error:
                    log.warning("commands of device %s are sent later: %s", device_id, error)
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    del waiting[command.rpc_id]
        finally:
            del self._waiting[device_id]

    async def _send(self, device_id: str, command: Command) -> None:
        """Raises Later; then it was not sent."""
        if not self._desk.knows(command.rpc_id):
            if 0 < command.retries < command.attempts:
                self._desk.give_up(device_id, command)
            if command.attempts > command.retries or not self._desk.is_open(command):
                return
            if not await self._kept.claim(device_id, command):
                return
        self._desk.send(device_id, command, self._link_of(device_id))
