"""Devices by what their clients show: what was asked for once is kept in memory, by keyed hash,
so the time of a look-up tells nothing. A change of a device is told by ``device-commands``;
should that be missed, an old entry is looked up again after minutes. What nobody has is not
asked for again for a while."""

import hashlib
from typing import Final, Protocol

from edgeferry.core.clock import Clock
from edgeferry.core.credentials import MAX_NAME_LENGTH
from edgeferry.core.errors import Later
from edgeferry.core.ids import new_secret
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Admitted, Login
from edgeferry.gateway.look_up_brake import LookUpBrake

_KEPT_SECONDS: Final = 300.0
_REFUSED_SECONDS: Final = 30.0
_MOST: Final = 200_000
_MOST_REFUSED: Final = 20_000
_PER_REFRESH: Final = 500


class DeviceKeys(Protocol):
    """Where devices are kept."""

    async def admitted(self, id_: str) -> Admitted | None:
        """Whose credentials have this id. Raises StoreUnavailable."""
        ...


class KnownDevices:
    """A ``ports.DeviceDirectory``."""

    def __init__(self, *, keys: DeviceKeys, clock: Clock, brake: LookUpBrake | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._brake = brake or LookUpBrake(clock)
        self._hash_key = bytes.fromhex(new_secret())
        self._by_id: dict[bytes, tuple[Admitted, float]] = {}
        self._ids: dict[str, set[bytes]] = {}
        self._refused: dict[bytes, float] = {}
        self._forgotten: dict[bytes, Admitted] = {}
        self._news = 0
        self.problem = ""

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, login: Login) -> Device | None:
        """What is known of it now."""
        for id_ in login.ids():
            known = self._by_id.get(self._digest(id_))
            if known is not None and known[0].lets_in(login):
                return known[0].device
        return None

    async def look(self, login: Login, address: str) -> Device | None:
        """The device, asked for where it is not known. Raises StoreUnavailable, LookUpsBraked."""
        for id_ in login.ids():
            admitted = await self._look(id_, address)
            if admitted is not None and admitted.lets_in(login):
                return admitted.device
        return None

    def forget(self, device_id: str) -> None:
        """Something about it has changed: look it up again. Who was unknown may be known now."""
        self._news += 1
        self._refused.clear()
        for digest in self._ids.pop(device_id, ()):
            admitted, _ = self._by_id.pop(digest)
            self._forgotten[digest] = admitted

    def forget_all(self) -> None:
        self.forget("")
        for device_id in list(self._ids):
            self.forget(device_id)

    async def refresh(self) -> bool:
        """Look up what was forgotten or is old. True when something has changed."""
        before = self._clock.monotonic() - _KEPT_SECONDS
        changed = bool(self._forgotten)
        for digest, (admitted, since) in list(self._by_id.items())[:_PER_REFRESH]:
            if since > before:
                break
            self._forgotten[digest] = admitted
        self.problem = ""
        for digest, admitted in list(self._forgotten.items()):
            del self._forgotten[digest]
            try:
                found = await self._ask(admitted.device.token, digest)
            except Later as error:
                self.problem = str(error)
                self._forgotten.setdefault(digest, admitted)
                return False
            changed = changed or found != admitted
        return changed

    async def _look(self, id_: str, address: str) -> Admitted | None:
        digest = self._digest(id_)
        known = self._by_id.get(digest)
        if known is not None:
            return known[0]
        if len(id_) > MAX_NAME_LENGTH or self._is_refused(digest):
            return None
        self._brake.check(address)
        admitted = await self._ask(id_, digest)
        if admitted is None:
            self._brake.failed(address)
        return admitted

    def _is_refused(self, digest: bytes) -> bool:
        until = self._refused.get(digest)
        return until is not None and self._clock.monotonic() < until

    async def _ask(self, id_: str, digest: bytes) -> Admitted | None:
        news = self._news
        admitted = await self._keys.admitted(id_)
        self._drop(digest)
        if admitted is None:
            if news == self._news:  # else it may have come meanwhile
                self._refuse(digest)
            return None
        if len(self._by_id) >= _MOST:
            self._drop(next(iter(self._by_id)))
        self._by_id[digest] = (admitted, self._clock.monotonic())
        self._ids.setdefault(admitted.device.id, set()).add(digest)
        if news != self._news:  # it may have been changed while it was read: once more, soon
            self._forgotten[digest] = admitted
        return admitted

    def _refuse(self, digest: bytes) -> None:
        self._refused.pop(digest, None)
        if len(self._refused) >= _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[digest] = self._clock.monotonic() + _REFUSED_SECONDS

    def _drop(self, digest: bytes) -> None:
        known = self._by_id.pop(digest, None)
        if known is not None:
            device_id = known[0].device.id
            ids = self._ids.get(device_id, set())
            ids.discard(digest)
            if not ids:
                self._ids.pop(device_id, None)

    def _digest(self, id_: str) -> bytes:
        text = id_.encode(errors="surrogatepass")
        return hashlib.blake2b(text, key=self._hash_key, digest_size=16).digest()
