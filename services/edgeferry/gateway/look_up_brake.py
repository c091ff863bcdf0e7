"""Holds back an address that asks for many devices that nobody knows: each costs a read of the
store.

What is in memory is not asked for, so it is never held back; nor do look-ups count that find
their device. A whole site behind one address has to share what its unknown clients leave: they
are told to come again, not that they are unknown.
"""

import logging
from typing import Final

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later
from edgeferry.gateway.rates import Bucket
from edgeferry.runtime.network import network_of

PER_SECOND: Final = 50.0
AT_ONCE: Final = 500
MOST_ADDRESSES: Final = 10_000
BRAKED: Final = "look_ups"
"""The word for the metrics."""
_TOLD_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class LookUpsBraked(Later):
    """Too many clients at this address are unknown: try again in a second."""


class LookUpBrake:
    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._buckets: dict[str, Bucket] = {}
        self._told_at = -_TOLD_SECONDS

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, address: str) -> None:
        """Raises LookUpsBraked."""
        network = network_of(address)
        bucket, now = self._buckets.get(network), self._monotonic()
        if bucket is None or not bucket.wait(now):
            return
        if now - self._told_at >= _TOLD_SECONDS:
            self._told_at = now
            log.warning(
                "more than %g clients a second at %s have no known credentials: some are told to "
                "try again later", PER_SECOND, network,
            )  # fmt: skip
        raise LookUpsBraked("too many clients at this address are unknown: try again later")

    def failed(self, address: str) -> None:
        """Nobody was found."""
        network, now = network_of(address), self._monotonic()
        bucket = self._buckets.pop(network, None)
        if bucket is None:
            if len(self._buckets) >= MOST_ADDRESSES:  # the one whose last failure is the oldest
                del self._buckets[next(iter(self._buckets))]
            bucket = Bucket(PER_SECOND, AT_ONCE, now)
        self._buckets[network] = bucket
        if not bucket.wait(now):  # so those that were under way make no long debt
            bucket.take(1)
