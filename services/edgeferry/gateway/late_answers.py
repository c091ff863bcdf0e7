"""Answers to commands that this process has not under way: another process has sent them, the
one before it for example, or nobody. The store is asked which commands of the device are open,
at a pace that no device can quicken, and its answer is acknowledged after that.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgeferry.core.errors import Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.commands import CommandDesk, request_id_of
from edgeferry.gateway.ports import Command, Commands
from edgeferry.gateway.rates import Rates, Unlimited

_AT_ONCE: Final = 20
_PER_SECOND: Final = 2.0


class LookUpPace:
    """How often the commands of one device are read from the store: a device can ask for them
    as often as it likes (subscriptions, long polls, answers to nothing)."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        limits = Unlimited(device_rate=_PER_SECOND, device_burst=_AT_ONCE)
        self._rates = Rates(limits, monotonic())

    async def turn(self, device_id: str) -> None:
        """Return when they may be read once more."""
        wait = self._rates.wait(device_id, self._monotonic())
        self._rates.take(device_id, 0)
        if wait:
            await asyncio.sleep(wait)

    def tidy(self) -> None:
        """To be called every second or so."""
        self._rates.tidy(self._monotonic())


@dataclass(slots=True)
class _LookUps:
    """Of one device, one after the other. Who comes before one has begun shares it."""

    one_by_one: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    begun: int = 0
    found: Sequence[Command] = ()
    error: Later | None = None


class LateAnswers:
    def __init__(self, *, desk: CommandDesk, kept: Commands, pace: LookUpPace) -> None:
        self._desk = desk
        self._kept = kept
        self._pace = pace
        self._look_ups: dict[str, _LookUps] = {}

    async def records(self, device_id: str, request_id: int, body: str) -> list[Outgoing]:
        """Of the device's answer (JSON text), to be durable before it is acknowledged; none
        where no open command has this number. Raises Later."""
        return [
            record
            for command in await self._unanswered(device_id)
            if request_id_of(command.rpc_id) == request_id and not self._desk.knows(command.rpc_id)
            for record in self._desk.late(device_id, command, body)
        ]

    async def _unanswered(self, device_id: str) -> Sequence[Command]:
        """Raises Later."""
        mine = self._look_ups.setdefault(device_id, _LookUps())
        begun = mine.begun
        mine.users += 1
        try:
            async with mine.one_by_one:
                if mine.begun == begun:
                    await self._look_up(device_id, mine)
                if mine.error is not None:
                    raise mine.error
                return mine.found
        finally:
            mine.users -= 1
            if not mine.users:
                del self._look_ups[device_id]

    async def _look_up(self, device_id: str, mine: _LookUps) -> None:
        await self._pace.turn(device_id)
        mine.begun += 1
        mine.found, mine.error = (), Later("the look-up was given up")
        try:
            mine.found = await self._kept.unanswered(device_id)
        except Later as error:
            mine.error = error
        else:
            mine.error = None
