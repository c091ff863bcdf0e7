"""Takes over the devices of a file that the site does not know: those of the demonstration, and
those of a site from before devices were kept in the store."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from edgeferry.core.changes import Change, Changes, EntityAction, EntityChange
from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later
from edgeferry.core.ids import derived_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityStore
from edgeferry.gateway.devices import Device, read_devices
from edgeferry.runtime.background import BackgroundTask
from edgeferry.runtime.service import Health

_AT_ONCE = 200
_RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class CarryOver:
    """A Service, ready when all devices are known. One that was deleted stays so."""

    name = "carry-over"

    def __init__(
        self,
        *,
        file: Path,
        tenant_id: str,
        origin: str,
        entities: EntityStore,
        changes: Changes,
        clock: Clock,
    ) -> None:
        self._file = file
        self._tenant_id = tenant_id
        self._origin = origin
        self._entities = entities
        self._changes = changes
        self._clock = clock
        self._done = False
        self._task = BackgroundTask(self.name)

    async def start(self) -> None:
        """Raises InvalidSettings when the file is broken."""
        self._task.start(self._run(read_devices(self._file)))

    async def stop(self) -> None:
        await self._task.stop()

    def health(self) -> Health:
        crashed = self._task.crashed
        detail = crashed or ("" if self._done else "devices of the file are taken over")
        return Health(alive=not crashed, ready=self._done, detail=detail)

    async def _run(self, devices: Sequence[Device]) -> None:
        for at in range(0, len(devices), _AT_ONCE):
            while not await self._take(devices[at : at + _AT_ONCE]):
                await asyncio.sleep(_RETRY_SECONDS)
        self._done = True
        await asyncio.Event().wait()

    async def _take(self, devices: Sequence[Device]) -> bool:
        try:
            keys = [(EntityType.DEVICE.value, device.id) for device in devices]
            known = await self._entities.entities(keys)
            unknown = [one for one in devices if (EntityType.DEVICE.value, one.id) not in known]
            await self._changes.submit([c for one in unknown for c in self._changes_of(one)])
        except Later as error:
            log.warning("devices of %s are taken over later: %s", self._file, error)
            return False
        if unknown:
            log.info("%d devices of %s were taken over", len(unknown), self._file)
        return True

    def _changes_of(self, device: Device) -> list[Change]:
        body = {"name": device.name, "type": device.profile}
        return [
            self._change(device, EntityAction.SAVED, body),
            self._change(device, EntityAction.CREDENTIALS, token_credentials(device.token)),
        ]

    def _change(
        self, device: Device, action: EntityAction, body: Mapping[str, str | None]
    ) -> EntityChange:
        return EntityChange(
            id=derived_id(device.id, f"devices.json {action}", 0),
            tenant_id=self._tenant_id,
            entity_type=EntityType.DEVICE,
            entity_id=device.id,
            action=action,
            origin=self._origin,
            created_time=self._clock.now_ms(),
            body=orjson.dumps(body).decode(),
        )


def token_credentials(token: str) -> dict[str, str | None]:
    """The body of credentials that are an access token."""
    return {
        "credentialsType": "ACCESS_TOKEN",
        "credentialsId": token,
        "credentialsValue": None,
    }
