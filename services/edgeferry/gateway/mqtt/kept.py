"""Sessions that outlive their connections, while this process lives, and their wills."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edgeferry.gateway.devices import Device
from edgeferry.gateway.mqtt.outbox import Outbox

LONGEST_SECONDS: Final = 24 * 3600
MOST_KEPT: Final = 10_000
"""Of clients that are away; beyond, the one away the longest is forgotten."""
MOST_WILL_BYTES: Final = 16 * 1024 * 1024
"""Of wills that wait; beyond, that of the client away the longest is published."""


class LastWill(NamedTuple):
    """``delay_seconds``: after the end of the connection."""

    device: Device
    topic: str
    payload: bytes
    delay_seconds: int = 0


@dataclass(slots=True, eq=False)
class Kept:
    """subscriptions: filter and granted QoS, in their order. keep_seconds: after the
    connection's end; 0: nothing is kept. will: to be published unless the client is back
    before, at the session's end at the latest."""

    subscriptions: dict[str, int] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)
    keep_seconds: int = 0
    will: LastWill | None = None


class _Away(NamedTuple):
    since: float
    kept: Kept

    def has_ended(self, now: float) -> bool:
        return self.since + self.kept.keep_seconds <= now


class KeptSessions:
    """By device and client identifier, who left first before the others. Each session is given
    to the caller when it ends for good, with its will if that was not published yet."""

    def __init__(self) -> None:
        self._away: dict[tuple[str, str], _Away] = {}

    def take(
        self, device_id: str, client_id: str, now: float, *, clean: bool = False
    ) -> tuple[Kept | None, list[Kept]]:
        """What is kept for a client that is back, without its will: it is the client's again.
        Then the session that ended instead, where the client wants a new one or it is over."""
        away = self._away.pop((device_id, client_id), None)
        if away is None:
            return None, []
        if clean or away.has_ended(now):
            return None, [away.kept]
        away.kept.will = None
        return away.kept, []

    def keep(self, device_id: str, client_id: str, kept: Kept, now: float) -> list[Kept]:
        """The client is away. The answer: sessions that ended by this."""
        if not kept.keep_seconds:
            return [kept]
        ended: list[Kept] = []
        self._away[device_id, client_id] = _Away(now, kept)
        while len(self._away) > MOST_KEPT:
            oldest = next(iter(self._away))
            ended.append(self._away.pop(oldest).kept)
        return ended

    def expire(self, now: float) -> list[Kept]:
        over = [key for key, away in self._away.items() if away.has_ended(now)]
        return [self._away.pop(key).kept for key in over]

    def end_all(self) -> list[Kept]:
        ended = [away.kept for away in self._away.values()]
        self._away.clear()
        return ended

    def due(self, now: float) -> list[LastWill]:
        """Wills whose time has come, each once, and those for which there is no more room."""
        due: list[LastWill] = []
        waiting: list[Kept] = []
        size = 0
        for since, kept in self._away.values():
            if kept.will is None:
                continue
            if since + kept.will.delay_seconds <= now:
                due.append(kept.will)
                kept.will = None
            else:
                waiting.append(kept)
                size += len(kept.will.payload)
        for kept in waiting:
            if size <= MOST_WILL_BYTES:
                break
            assert kept.will is not None
            size -= len(kept.will.payload)
            due.append(kept.will)
            kept.will = None
        return due
