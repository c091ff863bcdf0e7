"""How many connections a listener keeps, and which go first when there are too many.

A connection waits until it has shown what it is for: it has logged in, or sent a request.
Whoever opens many and says nothing must neither use up the files of the process nor keep
others out: the one that has waited longest makes room for the next.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgeferry.runtime.network import network_of

_TOLD_SECONDS = 10.0

log = logging.getLogger(__name__)


class Bounded(Protocol):
    def abort(self) -> None:
        """Close at once."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """most: connections at once; waiting: of these, how many may wait; per_address: of those
    that wait, from one address (None: as many as may wait at all)."""

    most: int
    waiting: int
    per_address: int | None = None

    @staticmethod
    def of_logins(most: int) -> "Bounds":
        """All clients of a gateway may come back at once, from behind one address."""
        return Bounds(most, max(1, most // 4), max(1, most // 8))


class ConnectionBound:
    """One per listener."""

    def __init__(
        self,
        what: str,
        bounds: Bounds,
        *,
        monotonic: Callable[[], float],
        turned_away: Callable[[], None],
    ) -> None:
        """``what``: begins the line in the log. ``turned_away``: called for each connection
        that was closed to keep the bounds."""
        self._what = what
        self._bounds = bounds
        self._monotonic = monotonic
        self._turned_away = turned_away
        self._open: dict[Bounded, str] = {}
        self._waiting: dict[Bounded, None] = {}  # the longest first
        self._of_network: dict[str, int] = {}  # of those that wait
        self._untold = 0
        self._told_at = -_TOLD_SECONDS

    @property
    def open(self) -> int:
        return len(self._open)

    def enter(self, connection: Bounded, address: str) -> bool:
        """A connection was made and waits. Whether it may stay: else its owner aborts it."""
        bounds, network = self._bounds, network_of(address)
        most_here = bounds.per_address
        if most_here is not None and self._of_network.get(network, 0) >= most_here:
            self._count()
            return False
        if len(self._open) >= bounds.most or len(self._waiting) >= bounds.waiting:
            self._count()
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.abort()
        self._open[connection] = network
        self.wait(connection)
        return True

    def settle(self, connection: Bounded) -> None:
        """It waits no longer."""
        if connection in self._waiting:
            del self._waiting[connection]
            network = self._open[connection]
            left = self._of_network[network] - 1
            if left:
                self._of_network[network] = left
            else:
                del self._of_network[network]

    def wait(self, connection: Bounded) -> None:
        """It waits, again or for the first time."""
        network = self._open.get(connection)
        if network is not None and connection not in self._waiting:
            self._waiting[connection] = None
            self._of_network[network] = self._of_network.get(network, 0) + 1

    def leave(self, connection: Bounded) -> None:
        """It is closed; it may have been before."""
        self.settle(connection)
        self._open.pop(connection, None)

    def _count(self) -> None:
        self._turned_away()
        self._untold += 1
        now = self._monotonic()
        if now - self._told_at < _TOLD_SECONDS:
            return
        log.warning(
            "%s: %d connections were turned away since this was last told: %d of at most %d are "
            "open, %d of at most %d wait",
            self._what, self._untold, len(self._open), self._bounds.most,
            len(self._waiting), self._bounds.waiting,
        )  # fmt: skip
        self._untold, self._told_at = 0, now
