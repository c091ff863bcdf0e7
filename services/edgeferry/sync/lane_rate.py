"""How many events a second a lane moves, over the last seconds."""

from collections import deque
from typing import Final, NamedTuple

WINDOW_SECONDS: Final = 10.0


class _Sample(NamedTuple):
    at: float
    epoch: int
    events: int


class LaneRate:
    """``at``: of a monotonic clock (seconds)."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def sample(self, at: float, epoch: int, count: int) -> None:
        """``count``: of all events so far, in this epoch of the lane."""
        last = self._samples[-1] if self._samples else None
        if last is not None and (epoch != last.epoch or count < last.events):
            self._samples.clear()
        self._samples.append(_Sample(at, epoch, count))
        self._drop(at)

    def per_second(self, at: float) -> float:
        self._drop(at)
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return round((last.events - first.events) / max(at - first.at, 0.001), 1)

    def _drop(self, at: float) -> None:
        """One at the window's edge stays, as what is counted from."""
        while len(self._samples) > 1 and self._samples[1].at <= at - WINDOW_SECONDS:
            self._samples.popleft()
        if self._samples and self._samples[-1].at <= at - WINDOW_SECONDS:
            self._samples.clear()
