"""What goes to one client with PUBLISH: packet identifiers, the client's receive maximum, and
what to send again when a session is resumed. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from edgeferry.gateway.mqtt.encoder import publish
from edgeferry.gateway.mqtt.packets import V311

MOST_WAITING: Final = 1000
"""Publishes of QoS 1; a client that reads none of them gets no more."""
_MOST_IN_FLIGHT: Final = 100
_LAST_ID: Final = 65_535

Acknowledged = Callable[[], None]
Wanted = Callable[[], bool]


class _Waiting(NamedTuple):
    topic: str
    payload: bytes
    acknowledged: Acknowledged | None
    wanted: Wanted | None

    @property
    def is_over(self) -> bool:
        return self.wanted is not None and not self.wanted()


class Outbox:
    """Lives as long as the session, over its connections."""

    def __init__(self) -> None:
        self._in_flight: dict[int, _Waiting] = {}
        self._waiting: deque[_Waiting] = deque()
        self._next_id = 0
        self._version = V311
        self._window = _MOST_IN_FLIGHT
        self._largest = 0
        self._online = False

    def __len__(self) -> int:
        return len(self._in_flight) + len(self._waiting)

    def connect(self, version: int, receive_maximum: int, largest_packet: int) -> None:
        """largest_packet (bytes, 0: any) and receive_maximum are what the client takes."""
        self._version = version
        self._window = min(receive_maximum, _MOST_IN_FLIGHT)
        self._largest = largest_packet
        self._online = True

    def disconnect(self) -> None:
        self._online = False

    def resume(self) -> bytes:
        """All that was sent without PUBACK, marked as a repeat, then what waits."""
        for packet_id in [at for at, one in self._in_flight.items() if one.is_over]:
            del self._in_flight[packet_id]
        sent = list(self._in_flight.items())[: self._window]
        again = b"".join(
            publish(self._version, one.topic, one.payload, 1, packet_id, dup=True)
            for packet_id, one in sent
        )
        return again + self._more()

    def send(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        acknowledged: Acknowledged | None = None,
        wanted: Wanted | None = None,
    ) -> bytes | None:
        """Bytes to write now (none while the client is away or its window is full); None when
        it cannot be sent: too large for the client, too much waits, or QoS 0 to nobody.

        ``acknowledged`` is called with the client's PUBACK, of QoS 0 never. ``wanted``: whether
        it is still to be sent, asked each time."""
        if self._largest and len(topic) + len(payload) + 16 > self._largest:
            return None
        if not qos:
            return publish(self._version, topic, payload) if self._online else None
        if len(self) >= MOST_WAITING:
            return None
        self._waiting.append(_Waiting(topic, payload, acknowledged, wanted))
        return self._more()

    def acknowledge(self, packet_id: int, *, success: bool = True) -> bytes:
        """The client's PUBACK; more bytes to write. A repeat or a stray one changes nothing."""
        done = self._in_flight.pop(packet_id, None)
        if done is None:
            return b""
        if done.acknowledged is not None and success:
            done.acknowledged()
        return self._more()

    def _more(self) -> bytes:
        out = bytearray()
        while self._online and self._waiting and len(self._in_flight) < self._window:
            one = self._waiting.popleft()
            if one.is_over:
                continue
            packet_id = self._free_id()
            self._in_flight[packet_id] = one
            out += publish(self._version, one.topic, one.payload, 1, packet_id)
        return bytes(out)

    def _free_id(self) -> int:
        while True:
            self._next_id = self._next_id % _LAST_ID + 1
            if self._next_id not in self._in_flight:
                return self._next_id
