"""Time, passed in. Nothing outside this file asks the machine for it."""

import time
from collections.abc import Callable
from typing import Protocol

MICROS_PER_MS = 1000


class Clock(Protocol):
    """Wall time for stamps and records, monotonic time for durations."""

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that tests and simulations move by hand."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms
        self._start_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return (self._now_ms - self._start_ms) / 1000

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)


class Stamps:
    """Hybrid logical clock: a stamp is wall microseconds whose last three digits count.

    Rises with every call, also when the wall clock goes back. ``width`` reserves as
    many stamps, one for each point of a message, so that point i may use stamp + i
    and never meets the next message's stamps.
    """

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._next = 0

    def take(self, width: int = 1) -> int:
        stamp = max(self._now_ms() * MICROS_PER_MS, self._next)
        self._next = stamp + max(width, 1)
        return stamp

    @property
    def next(self) -> int:
        """Above every stamp that was taken or seen."""
        return self._next

    def observe(self, stamp: int) -> None:
        """Move past a stamp seen from elsewhere."""
        if stamp >= self._next:
            self._next = stamp + 1
