"""The brake on dead letters: a bad deployment must not pour a topic into them.

A few bad originators are set aside by themselves and stop nobody. When the failures come
from many originators and most of what arrives fails, the processor stops and says so.
"""

from collections import deque

WINDOW_SECONDS = 30.0
MIN_DEAD = 200
MIN_ORIGINATORS = 20
DEAD_RATIO = 0.5


class Brake:
    """Counts over a sliding window. Pure: time is passed in (seconds, monotonic)."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, int, int, frozenset[bytes | None]]] = deque()

    def pulled(self, now: float, total: int, senders: list[bytes | None]) -> bool:
        """Count a batch of ``total`` records of which those of ``senders`` died; True: stop."""
        window = self._window
        window.append((now, total, len(senders), frozenset(senders)))
        while window[0][0] < now - WINDOW_SECONDS:
            window.popleft()
        if not senders:
            return False
        dead = sum(row[2] for row in window)
        if dead < MIN_DEAD or dead < DEAD_RATIO * sum(row[1] for row in window):
            return False
        return len(frozenset[bytes | None]().union(*(row[3] for row in window))) >= MIN_ORIGINATORS
