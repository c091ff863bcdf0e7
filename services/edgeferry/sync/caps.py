"""How full an outbox is, and where to cut it: pure."""

from typing import Literal, NamedTuple, Protocol

WARN_AT = 0.8
CALM_BELOW = 0.75
"""After a warning; or an outbox at its threshold would warn again and again."""
OPEN_BELOW = 0.95
"""After a refusal."""
KEEP = 0.95
"""Of a cap, when the oldest are dropped: a slice at once, not event by event."""

Cap = Literal["bytes", "events", "age"]


class Caps(Protocol):
    """0: no cap."""

    @property
    def policy(self) -> Literal["drop_oldest", "refuse_new"]: ...

    @property
    def max_bytes(self) -> int: ...

    @property
    def max_events(self) -> int: ...

    @property
    def max_age_seconds(self) -> float: ...


class Figures(NamedTuple):
    """What waits in an outbox. The events from ``first`` (an offset) up to ``end``; ``bytes``
    of keys, values and headers, counted by the log where ``measured``, else reckoned from the
    mean of samples; ``oldest_ms``: when the oldest was appended, None when there is none.
    ``acked``: the next offset that the Cloud has not acknowledged; ``dropped``: events that
    ever left the log unacknowledged."""

    first: int
    end: int
    bytes: int
    measured: bool
    oldest_ms: int | None
    acked: int
    dropped: int

    @property
    def depth(self) -> int:
        return self.end - self.first

    def age_seconds(self, now_ms: int) -> float:
        return 0.0 if self.oldest_ms is None else max(0, now_ms - self.oldest_ms) / 1000


class Fill(NamedTuple):
    """``ratio`` of the cap that is fullest, 0 where there is none."""

    ratio: float
    cap: Cap


def fill(caps: Caps, figures: Figures, now_ms: int) -> Fill:
    used: list[tuple[float, float, Cap]] = [
        (figures.bytes, caps.max_bytes, "bytes"),
        (figures.depth, caps.max_events, "events"),
        (figures.age_seconds(now_ms), caps.max_age_seconds, "age"),
    ]
    ratios = [Fill(amount / cap, name) for amount, cap, name in used if cap]
    return max(ratios, key=lambda found: found.ratio, default=Fill(0.0, "bytes"))
