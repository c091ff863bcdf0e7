"""What the connections of a gateway share."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.device_api import DeviceApi
from edgeferry.gateway.gate import Gate
from edgeferry.gateway.mqtt.kept import KeptSessions
from edgeferry.gateway.mqtt.packets import Reason
from edgeferry.gateway.mqtt.wills import Wills
from edgeferry.gateway.records import Records
from edgeferry.runtime.connection_bound import ConnectionBound

PACKET_OVERHEAD: Final = 1024
"""Of a PUBLISH around its payload: topic and properties."""
WINDOW_PUBLISHES: Final = 1024
"""Publishes that wait for the log before we stop reading: above the receive maximum, so that
an MQTT 5 client that breaks it is told so."""
WINDOW_BYTES: Final = 4 * 1024 * 1024
MOST_UNREAD_BYTES: Final = 16 * 1024 * 1024
"""On their way to a client; one that lets more wait is disconnected."""


class OpenConnection(Protocol):
    """A connection as the gateway sees it."""

    def check(self, now: float) -> None: ...

    def check_device(self) -> None: ...

    def hold(self, why: int) -> None: ...

    def end(self, reason: Reason, text: str) -> None: ...

    def abort(self) -> None: ...


class Sessions:
    """The connections of this gateway; one per device and client identifier."""

    def __init__(self) -> None:
        self.all: set[OpenConnection] = set()
        self.kept = KeptSessions()
        self._named: dict[tuple[str, str], OpenConnection] = {}

    def connected(self, connection: OpenConnection, device_id: str, client_id: str) -> None:
        self._named[device_id, client_id] = connection

    def take_over(self, device_id: str, client_id: str) -> None:
        """A client is about to be in: its older connection ends."""
        older = self._named.pop((device_id, client_id), None)
        if older is not None:
            older.end(Reason.SESSION_TAKEN_OVER, "the client has connected again")

    def closed(self, connection: OpenConnection, device_id: str, client_id: str) -> None:
        self.all.discard(connection)
        if self._named.get((device_id, client_id)) is connection:
            del self._named[device_id, client_id]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all connections of a gateway share."""

    context: GatewayContext
    records: Records
    appender: Appender
    gate: Gate
    sessions: Sessions
    bound: ConnectionBound
    api: DeviceApi
    wills: Wills


@dataclass(slots=True)
class Batch:
    """The publishes of one read, with the acknowledgements that they will get."""

    records: list[Outgoing] = field(default_factory=list)
    acks: bytearray = field(default_factory=bytearray)
    publishes: int = 0
    with_ack: int = 0
    understood: int = 0
    size: int = 0
    understood_size: int = 0
