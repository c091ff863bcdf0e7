"""Passwords: argon2id, slow on purpose, away from the event loop."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from edgeferry.api.errors import TooManyAttempts
from edgeferry.core.ids import new_secret

_AT_ONCE = 2  # each takes 64 MiB and a core
_WAITING = 16


class Passwords:
    """Makes and checks hashes. ``hasher`` is given by tests that cannot wait."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._nobodys = ""
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    def hash(self, password: str) -> str:
        """Takes tens of milliseconds: not for the event loop of a running process."""
        return self._hasher.hash(password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """None stands for a user that does not exist: the answer takes as long.

        Raises TooManyAttempts when too many are being checked already."""
        if self._waiting >= _WAITING:
            raise TooManyAttempts("Too many logins at the same time: try again.", 1)
        self._waiting += 1
        try:
            async with self._turns:
                good = await asyncio.to_thread(self._verify, password_hash, password)
        finally:
            self._waiting -= 1
        return good and password_hash is not None

    def _verify(self, password_hash: str | None, password: str) -> bool:
        if not self._nobodys:  # at the first login, whoever comes: it tells nothing of a user
            self._nobodys = self._hasher.hash(new_secret())
        return self.matches(password_hash or self._nobodys, password)

    def matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
