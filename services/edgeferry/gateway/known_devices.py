"""Devices by access token: what was asked for once is kept in memory, by keyed hash, so the
time of a look-up tells nothing. A change of a device is told by ``device-commands``; should
that be missed, an old entry is looked up again after minutes."""

import hashlib
from typing import Final, Protocol

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later
from edgeferry.core.ids import new_secret
from edgeferry.gateway.devices import MAX_TOKEN_LENGTH, Device

_KEPT_SECONDS: Final = 300.0
_REFUSED_SECONDS: Final = 1.0
_MOST: Final = 200_000
_MOST_REFUSED: Final = 10_000
_PER_REFRESH: Final = 500


class DeviceKeys(Protocol):
    """Where devices are kept."""

    async def device(self, token: str) -> Device | None:
        """Raises StoreUnavailable."""
        ...


class KnownDevices:
    """A ``ports.DeviceDirectory``."""

    def __init__(self, *, keys: DeviceKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._hash_key = bytes.fromhex(new_secret())
        self._by_token: dict[bytes, tuple[Device, float]] = {}
        self._tokens: dict[str, set[bytes]] = {}
        self._refused: dict[bytes, float] = {}
        self._forgotten: dict[bytes, Device] = {}
        self.problem = ""

    def __len__(self) -> int:
        return len(self._by_token)

    def find(self, token: str) -> Device | None:
        """What is known of it now."""
        known = self._by_token.get(self._digest(token))
        return known[0] if known is not None else None

    async def look(self, token: str) -> Device | None:
        """The device, asked for where it is not known. Raises StoreUnavailable."""
        digest = self._digest(token)
        known = self._by_token.get(digest)
        if known is not None:
            return known[0]
        if len(token) > MAX_TOKEN_LENGTH or self._is_refused(digest):
            return None
        return await self._ask(token, digest)

    def forget(self, device_id: str) -> None:
        """Something about it has changed: look it up again. Tokens that were unknown may be
        known now."""
        self._refused.clear()
        for digest in self._tokens.pop(device_id, ()):
            device, _ = self._by_token.pop(digest)
            self._forgotten[digest] = device

    def forget_all(self) -> None:
        for device_id in list(self._tokens):
            self.forget(device_id)

    async def refresh(self) -> bool:
        """Look up what was forgotten or is old. True when something has changed."""
        before = self._clock.monotonic() - _KEPT_SECONDS
        changed = bool(self._forgotten)
        for digest, (device, since) in list(self._by_token.items())[:_PER_REFRESH]:
            if since > before:
                break
            self._forgotten[digest] = device
        self.problem = ""
        for digest, device in list(self._forgotten.items()):
            try:
                found = await self._ask(device.token, digest)
            except Later as error:
                self.problem = str(error)
                return False
            self._forgotten.pop(digest, None)
            changed = changed or found != device
        return changed

    def _is_refused(self, digest: bytes) -> bool:
        until = self._refused.get(digest)
        return until is not None and self._clock.monotonic() < until

    async def _ask(self, token: str, digest: bytes) -> Device | None:
        device = await self._keys.device(token)
        self._drop(digest)
        if device is None:
            if len(self._refused) >= _MOST_REFUSED:
                self._refused.clear()
            self._refused[digest] = self._clock.monotonic() + _REFUSED_SECONDS
            return None
        if len(self._by_token) >= _MOST:
            self._drop(next(iter(self._by_token)))
        self._by_token[digest] = (device, self._clock.monotonic())
        self._tokens.setdefault(device.id, set()).add(digest)
        return device

    def _drop(self, digest: bytes) -> None:
        known = self._by_token.pop(digest, None)
        if known is not None:
            tokens = self._tokens.get(known[0].id, set())
            tokens.discard(digest)
            if not tokens:
                self._tokens.pop(known[0].id, None)

    def _digest(self, token: str) -> bytes:
        return hashlib.blake2b(token.encode(), key=self._hash_key, digest_size=16).digest()
