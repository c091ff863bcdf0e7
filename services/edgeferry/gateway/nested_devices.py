"""Devices behind a device that is a gateway: found by name, made when there is none."""

import asyncio
import json
from typing import Final

from edgeferry.core.changes import Changes, EntityAction, EntityChange
from edgeferry.core.clock import Clock
from edgeferry.core.entity_store import LAST_GATEWAY
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.ids import new_entity_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityStore
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device
from edgeferry.gateway.one_by_one import OneByOne
from edgeferry.gateway.rates import Rates, Unlimited

_LONGEST: Final = 255
_MADE_AT_ONCE: Final = 1_000
_MADE_PER_SECOND: Final = 10.0
"""New devices of one gateway, which is not read any faster."""


class NestedByChanges:
    """``ports.NestedDevices``."""

    def __init__(
        self,
        *,
        entities: EntityStore,
        changes: Changes,
        tenant_id: str,
        origin: str,
        clock: Clock,
    ) -> None:
        self._entities = entities
        self._changes = changes
        self._tenant_id = tenant_id
        self._origin = origin
        self._clock = clock
        self._monotonic = clock.monotonic
        limits = Unlimited(device_rate=_MADE_PER_SECOND, device_burst=_MADE_AT_ONCE)
        self._pace = Rates(limits, clock.monotonic())
        self._one_by_one = OneByOne()

    async def nested(self, gateway: Device, name: str, profile: str) -> Device:
        """Raises InvalidPayload, StoreUnavailable, LogUnavailable, NotAppliedYet."""
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST:
            raise InvalidPayload(f"a device cannot be named {name[:60]!r}")
        found = await self._find(gateway, name)
        if found is not None:
            return found
        # a gateway holds up no other, and two of them make no two devices of one name
        alone = self._one_by_one.alone
        async with alone(f"gateway {gateway.id}"), alone(f"name {name}"):
            found = await self._find(gateway, name)
            if found is not None:
                return found
            await self._keep_pace(gateway)
            return await self._make(gateway, name, profile)

    async def _keep_pace(self, gateway: Device) -> None:
        now = self._monotonic()
        self._pace.tidy(now)
        wait = self._pace.wait(gateway.id, now)
        self._pace.take(gateway.id, 0)
        if wait:
            await asyncio.sleep(wait)

    async def _find(self, gateway: Device, name: str) -> Device | None:
        entity = await self._entities.named(self._tenant_id, EntityType.DEVICE, name)
        if entity is None:
            return None
        if json.loads(entity.additional_info).get(LAST_GATEWAY) != gateway.id:
            raise InvalidPayload(f"the device {name!r} is not behind this gateway")
        return Device(entity.name, entity.entity_id, entity.profile or DEFAULT_PROFILE, "")

    async def _make(self, gateway: Device, name: str, profile: str) -> Device:
        kind = profile if 0 < len(profile) <= _LONGEST else DEFAULT_PROFILE
        device = Device(name, new_entity_id(), kind, "")
        body = {"name": name, "type": kind, "additionalInfo": {LAST_GATEWAY: gateway.id}}
        change = EntityChange(
            id=new_entity_id(),
            tenant_id=self._tenant_id,
            entity_type=EntityType.DEVICE,
            entity_id=device.id,
            action=EntityAction.SAVED,
            origin=self._origin,
            created_time=self._clock.now_ms(),
            body=json.dumps(body),
        )
        await self._changes.submit([change])
        return device
