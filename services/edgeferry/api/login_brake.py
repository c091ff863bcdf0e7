"""Slows down whoever guesses passwords."""

from collections import OrderedDict
from typing import NamedTuple

from edgeferry.api.errors import TooManyAttempts
from edgeferry.core.clock import Clock
from edgeferry.runtime.network import network_of

WINDOW_SECONDS = 300.0
PER_USER_AND_ADDRESS = 10
PER_ADDRESS = 500
"""Wide: all users behind one proxy have one address."""
PER_USER = 200
"""The user's own limit is wide: a stranger must not lock a user out with a few guesses."""

_REMEMBERED = 20_000


class _Count(NamedTuple):
    since: float
    attempts: int


class LoginBrake:
    """Counts attempts that did not succeed, per user, per address and per both."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()

    def admit(self, username: str, address: str) -> None:
        """Count an attempt, before its password is checked: many at once are held up too.

        Raises TooManyAttempts."""
        now = self._clock.monotonic()
        for key, limit in _limits(username, address):
            count = self._counts.get(key)
            if count is None or count.since <= now - WINDOW_SECONDS:
                continue
            if count.attempts >= limit:
                seconds = round(count.since + WINDOW_SECONDS - now)
                raise TooManyAttempts(
                    f"Too many failed logins: try again in {max(1, seconds)} s", seconds
                )
        for key, _ in _limits(username, address):
            self._count(key, now)

    def succeeded(self, username: str, address: str) -> None:
        """The attempt just admitted was a good one: it does not count."""
        (both, _), *wider = _limits(username, address)
        self._counts.pop(both, None)
        for key, _ in wider:
            count = self._counts.get(key)
            if count is not None:
                self._counts[key] = count._replace(attempts=max(0, count.attempts - 1))

    def _count(self, key: tuple[str, str], now: float) -> None:
        count = self._counts.pop(key, None)
        if count is None or count.since <= now - WINDOW_SECONDS:
            count = _Count(now, 0)
        self._counts[key] = count._replace(attempts=count.attempts + 1)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)


def _limits(username: str, address: str) -> tuple[tuple[tuple[str, str], int], ...]:
    user, network = username.casefold(), network_of(address)
    return (
        ((user, network), PER_USER_AND_ADDRESS),
        (("", network), PER_ADDRESS),
        ((user, ""), PER_USER),
    )
