"""Sessions that outlive their connections, while this process lives."""

from dataclasses import dataclass, field
from typing import Final

from edgeferry.gateway.mqtt.outbox import Outbox

LONGEST_SECONDS: Final = 24 * 3600
MOST_KEPT: Final = 10_000
"""Of clients that are away; beyond, the one away the longest is forgotten."""


@dataclass(slots=True, eq=False)
class Kept:
    """subscriptions: filter and granted QoS, in their order. keep_seconds: after the
    connection's end; 0: nothing is kept."""

    subscriptions: dict[str, int] = field(default_factory=dict)
    outbox: Outbox = field(default_factory=Outbox)
    keep_seconds: int = 0


class KeptSessions:
    """By device and client identifier."""

    def __init__(self) -> None:
        self._away: dict[tuple[str, str], tuple[float, Kept]] = {}

    def take(self, device_id: str, client_id: str, now: float) -> Kept | None:
        """What is kept for a client that is back; it is the client's again."""
        until, kept = self._away.pop((device_id, client_id), (0.0, None))
        return kept if now < until else None

    def keep(self, device_id: str, client_id: str, kept: Kept, now: float) -> list[Kept]:
        """The client is away. The answer: sessions that ended by this."""
        ended: list[Kept] = []
        if not kept.keep_seconds:
            return [kept]
        self._away[device_id, client_id] = (now + kept.keep_seconds, kept)
        while len(self._away) > MOST_KEPT:
            oldest = next(iter(self._away))
            ended.append(self._away.pop(oldest)[1])
        return ended

    def expire(self, now: float) -> list[Kept]:
        over = [key for key, (until, _) in self._away.items() if until <= now]
        return [self._away.pop(key)[1] for key in over]
