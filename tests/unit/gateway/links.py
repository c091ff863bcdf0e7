"""A way to a device that keeps what it was given, and ports that tests fill."""

import asyncio
from collections.abc import Mapping, Sequence

from edgeferry.core.errors import InvalidPayload, LogUnavailable, StoreUnavailable
from edgeferry.core.kv import AttributeEntry, Scope, Value
from edgeferry.gateway.devices import Device
from edgeferry.gateway.ports import Command, Handed


class FakeLink:
    def __init__(self, handed: Handed = Handed.SENT, owner: object | None = None) -> None:
        self.handed = handed
        self.given: list[tuple[int, Command]] = []
        self.told: list[tuple[dict[str, object], list[str]]] = []
        self.answers: list[tuple[int, str]] = []
        self._owner = owner or self

    @property
    def owner(self) -> object:
        return self._owner

    def wants_attributes(self) -> bool:
        return True

    def wants_commands(self) -> bool:
        return True

    def attributes(self, updates: Mapping[str, object], deletes: Sequence[str]) -> None:
        self.told.append((dict(updates), list(deletes)))

    def command(self, request_id: int, command: Command) -> Handed:
        if self.handed is not Handed.REFUSED:
            self.given.append((request_id, command))
        return self.handed

    def answer(self, call_id: int, data: str) -> None:
        self.answers.append((call_id, data))


class FakeAttributes:
    def __init__(self) -> None:
        self.values: dict[Scope, dict[str, Value]] = {}

    async def attributes(
        self, entity_type: str, entity_id: str, scope: Scope, keys: Sequence[str] | None = None
    ) -> Sequence[AttributeEntry]:
        values = self.values.get(scope, {})
        wanted = values if keys is None else [key for key in keys if key in values]
        return [AttributeEntry(key, values[key], 1, 1) for key in wanted]


class FakeCommands:
    """``waiting``: as they stand in the store; ``taken``: ids that another process claims first;
    ``failures``: so many claims cannot be made, or look-ups of what is unanswered."""

    def __init__(self) -> None:
        self.waiting: list[Command] = []
        self.claimed: list[str] = []
        self.taken: set[str] = set()
        self.sent: list[Command] = []
        self.failures = 0
        self.look_ups = 0

    async def pending(self, device_id: str) -> Sequence[Command]:
        return list(self.waiting)

    async def unanswered(self, device_id: str) -> Sequence[Command]:
        self.look_ups += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the store is away")
        return list(self.sent)

    async def claim(self, device_id: str, command: Command) -> bool:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("the log is away")
        if command.rpc_id in self.taken:
            return False
        self.claimed.append(command.rpc_id)
        return True


class FakeNested:
    async def nested(self, gateway: Device, name: str, profile: str) -> Device:
        if name == "taken":
            raise InvalidPayload("the name belongs to another")
        return Device(name, f"id-of-{name}", profile, "")
