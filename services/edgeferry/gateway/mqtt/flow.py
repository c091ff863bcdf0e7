"""Why a connection is not read for now, and what may be asked of it by its parts."""

from typing import Final, Protocol

from edgeferry.gateway.mqtt.packets import Reason

WINDOW: Final = 1
"""Too much of this connection waits for the log."""
PROCESS: Final = 2
"""Too much of all connections waits for the log."""
WRITE: Final = 4
"""The client does not read."""
CLOSED: Final = 8
RATE: Final = 16
"""Its messages come too fast."""
REFUSED: Final = 32
"""A message was refused, and its sender cannot be told: the connection will end."""
RESOLVE: Final = 64
"""Something has to be looked up first."""
STOPPING: Final = 128
"""The gateway stops: what was read before is finished."""


class Flow(Protocol):
    def hold(self, why: int) -> None:
        """Read nothing more, until this reason and all others are gone."""
        ...

    def release(self, why: int) -> None: ...

    def end(self, reason: Reason, text: str) -> None:
        """Tell the client why, where its version can be told, and close."""
        ...

    def write(self, data: bytes) -> None:
        """Nothing is written after the end."""
        ...
