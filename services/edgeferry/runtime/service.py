"""The life cycle that every part of a process shares."""

from typing import NamedTuple, Protocol


class Health(NamedTuple):
    """alive: its own loop turns (false restarts the process; a server away is no reason).
    ready: it can take work now. detail: one line for the operator, empty when all is well."""

    alive: bool
    ready: bool
    detail: str = ""


class Service(Protocol):
    """Started in order, stopped in reverse order."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def health(self) -> Health: ...
