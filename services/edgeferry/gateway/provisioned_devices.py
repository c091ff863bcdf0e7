"""Makes the devices of clients that may ask for some, and finds those that wait for theirs."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, cast

from edgeferry.core.changes import (
    AttributeChange,
    Change,
    Changes,
    EntityAction,
    EntityChange,
    NotAppliedYet,
)
from edgeferry.core.clock import Clock
from edgeferry.core.credentials import access_token
from edgeferry.core.errors import Never, StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id, new_token
from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType
from edgeferry.core.store import AttributesStore, EntityStore
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device
from edgeferry.gateway.one_by_one import OneByOne
from edgeferry.gateway.provisioning import Body, NotProvisioned, Provisioned, Status, Wish
from edgeferry.gateway.stored import GATEWAY

STATE: Final = "provisionState"
"""SERVER attribute of a device that has got its credentials: ``PROVISIONED``. With another value
it gets none."""
PROVISIONED: Final = "provisioned"
_DEVICE: Final = EntityType.DEVICE
_MADE_NAME: Final = 20


class ProvisionedByChanges:
    """``provisioning.Maker``. What is made is durable before the client hears of it."""

    def __init__(
        self,
        *,
        entities: EntityStore,
        attributes: AttributesStore,
        changes: Changes,
        tenant_id: str,
        origin: str,
        clock: Clock,
    ) -> None:
        """``origin``: site id of who decides here."""
        self._entities = entities
        self._attributes = attributes
        self._changes = changes
        self._tenant_id = tenant_id
        self._origin = origin
        self._now_ms = clock.now_ms
        self._one_by_one = OneByOne()

    async def create(self, profile: str, wish: Wish) -> Provisioned:
        """Raises NotProvisioned, StoreUnavailable, LogUnavailable."""
        name = wish.name or new_token()[:_MADE_NAME]
        body = wish.credentials or access_token(new_token())
        id_ = body["credentialsId"] or ""
        alone = self._one_by_one.alone
        async with alone(f"name {name}"), alone(f"credentials {id_}"):
            known = await self._named(name)
            if known is not None:
                text = f"there is a device named {name!r} already: ask for another name"
                raise NotProvisioned(Status.FAILURE, text, known)
            if await self._entities.with_token(id_) is not None:
                text = "another device has these credentials: ask for others"
                raise NotProvisioned(Status.FAILURE, text)
            device = Device(name, new_entity_id(), profile, id_, wish.gateway)
            with suppress(NotAppliedYet):  # it is durable, and nobody else has this id
                await self._submit(self._all_of(device, body))
        return Provisioned(device, body)

    async def check(self, profile: str, name: str) -> Provisioned:
        """Raises NotProvisioned, StoreUnavailable, LogUnavailable, NotAppliedYet."""
        device = await self._named(name) if name else None
        body = await self._credentials(device) if device is not None else None
        if device is None or body is None or device.profile != profile:
            text = f"no device of profile {profile!r} is named {name!r}: make it first"
            raise NotProvisioned(Status.FAILURE, text)
        stands = await self._attributes.attributes(_DEVICE, device.id, Scope.SERVER, [STATE])
        state = stands[0].value if stands else None
        if state not in (None, PROVISIONED):
            text = f"the device {name!r} is not to be provisioned ({STATE} is {state!r})"
            raise NotProvisioned(Status.FAILURE, text, device)
        if state is None:
            await self._submit([self._state_of(device)])
        return Provisioned(device, body)

    async def _submit(self, changes: Sequence[Change]) -> None:
        """Raises NotProvisioned, LogUnavailable, NotAppliedYet."""
        try:
            await self._changes.submit(changes)
        except Never as error:
            raise NotProvisioned(Status.FAILURE, f"it cannot be kept: {error}") from error

    async def _named(self, name: str) -> Device | None:
        found = await self._entities.named(self._tenant_id, _DEVICE, name)
        if found is None:
            return None
        return Device(found.name, found.entity_id, found.profile or DEFAULT_PROFILE, "")

    async def _credentials(self, device: Device) -> Body | None:
        try:
            found = await self._entities.credentials((_DEVICE.value, device.id))
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from error
        return cast(Body, json.loads(found.body)) if found is not None else None

    def _all_of(self, device: Device, body: Body) -> list[Change]:
        saved: dict[str, Any] = {"name": device.name, "type": device.profile}
        saved["additionalInfo"] = {GATEWAY: True} if device.gateway else {}
        return [
            self._change(device, EntityAction.SAVED, saved),
            self._change(device, EntityAction.CREDENTIALS, body),
            self._state_of(device),
        ]

    def _change(self, device: Device, action: EntityAction, body: object) -> EntityChange:
        return EntityChange(
            id=new_entity_id(),
            tenant_id=self._tenant_id,
            entity_type=_DEVICE,
            entity_id=device.id,
            action=action,
            origin=self._origin,
            created_time=self._now_ms(),
            body=json.dumps(body, ensure_ascii=False),
        )

    def _state_of(self, device: Device) -> AttributeChange:
        return AttributeChange(
            id=new_entity_id(),
            tenant_id=self._tenant_id,
            entity_type=_DEVICE,
            entity_id=device.id,
            scope=Scope.SERVER,
            origin=self._origin,
            created_time=self._now_ms(),
            upserts={STATE: PROVISIONED},
        )
