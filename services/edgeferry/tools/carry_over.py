"""Takes over the devices of a file that the site does not know: those of the demonstration, and
those of a site from before devices were kept in the store.

What it says is as old as the device's id, whenever it is taken over: what anybody changed since
goes before, and of one device in the files of both sites the Edge's row stands at both ends. (The
Cloud takes it from an Edge that the device is assigned to: who comes first must not matter, and
no Edge may claim what is the Cloud's.) Of two devices with one token the older one has it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from edgeferry.core.changes import Change, Changes, EntityAction, EntityChange, edge_of
from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.credentials import access_token
from edgeferry.core.errors import Later
from edgeferry.core.ids import derived_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import Entity, EntityKey, EntityStore
from edgeferry.gateway.devices import Device, read_devices
from edgeferry.gateway.stored import GATEWAY
from edgeferry.runtime.background import BackgroundTask
from edgeferry.runtime.service import Health

_AT_ONCE = 200
_RETRY_SECONDS = 1.0
_UUID_EPOCH_100NS = 0x01B21DD213814000

log = logging.getLogger(__name__)


class CarryOver:
    """A Service, ready when all devices are known. One that was deleted stays so; rows that
    contradict what the site knows are told at each start."""

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
            known = await self._entities.entities([_key(device) for device in devices])
            unknown = [one for one in devices if _is_unknown(known.get(_key(one)))]
            await self._changes.submit([c for one in unknown for c in self._changes_of(one)])
            for device in devices:
                await self._tell(device, known.get(_key(device)))
        except Later as error:
            log.warning("devices of %s are taken over later: %s", self._file, error)
            return False
        if unknown:
            log.info("%d devices of %s were taken over", len(unknown), self._file)
        return True

    async def _tell(self, device: Device, entity: Entity | None) -> None:
        """Raises Later."""
        edge_id = edge_of(entity.origin) if entity is not None and not entity.deleted else ""
        if edge_id and entity is not None and entity.origin != self._origin:
            log.info(
                "device %s of %s is one of edge %s: its row has no effect here",
                device.name, self._file, edge_id,
            )  # fmt: skip
            return
        holder = await self._entities.with_token(device.token)
        if holder is not None and holder != _key(device):
            log.warning(
                "device %s of %s has the token of the older device %s: whoever shows it is the "
                "older one. Give one of them another token by REST (POST /api/device/credentials), "
                "or delete it", device.name, self._file, holder[1],
            )  # fmt: skip

    def _changes_of(self, device: Device) -> list[Change]:
        body: dict[str, Any] = {"name": device.name, "type": device.profile}
        if device.gateway:
            body["additionalInfo"] = {GATEWAY: True}
        return [
            self._change(device, EntityAction.SAVED, body),
            self._change(device, EntityAction.CREDENTIALS, access_token(device.token)),
        ]

    def _change(
        self, device: Device, action: EntityAction, body: Mapping[str, Any]
    ) -> EntityChange:
        return EntityChange(
            id=derived_id(device.id, f"devices.json {self._origin} {action}", 0),
            tenant_id=self._tenant_id,
            entity_type=EntityType.DEVICE,
            entity_id=device.id,
            action=action,
            origin=self._origin,
            created_time=self._clock.now_ms(),
            version=min(_made_us(device.id), self._clock.now_ms() * MICROS_PER_MS),
            body=orjson.dumps(body).decode(),
        )


def _key(device: Device) -> EntityKey:
    return EntityType.DEVICE.value, device.id


def _is_unknown(entity: Entity | None) -> bool:
    """A shell waits for what the file says."""
    return entity is None or (not entity.version and not entity.deleted)


def _made_us(id_: str) -> int:
    """When a version-1 UUID was made, in microseconds since 1970."""
    return max(1, (UUID(id_).time - _UUID_EPOCH_100NS) // 10)
