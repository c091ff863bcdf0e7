"""Devices as the site's store has them, for the gateway."""

import json
from collections.abc import Mapping
from typing import Any, Final

from edgeferry.core.credentials import CredentialsType, basic_of
from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityStore
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device
from edgeferry.gateway.login import Admitted

GATEWAY: Final = "gateway"
"""In additionalInfo, true: the device may speak for devices behind it."""


class StoredDevices:
    """``known_devices.DeviceKeys``."""

    def __init__(self, entities: EntityStore) -> None:
        self._entities = entities

    async def admitted(self, id_: str) -> Admitted | None:
        """Raises StoreUnavailable."""
        key = await self._entities.with_token(id_)
        if key is None or key[0] != EntityType.DEVICE:
            return None
        entity = (await self._entities.entities([key])).get(key)
        try:
            credentials = await self._entities.credentials(key)
        except StoreUnusable as error:
            raise StoreUnavailable(str(error)) from error
        if entity is None or entity.deleted or credentials is None:
            return None
        device = Device(
            entity.name,
            entity.entity_id,
            entity.profile or DEFAULT_PROFILE,
            id_,
            json.loads(entity.additional_info).get(GATEWAY) is True,
        )
        return _admitted(device, json.loads(credentials.body))


def _admitted(device: Device, body: Mapping[str, Any]) -> Admitted | None:
    """None for credentials that let nobody in here, and those that were just replaced."""
    type_ = body.get("credentialsType")
    if body.get("credentialsId") != device.token or type_ not in tuple(CredentialsType):
        return None
    if type_ != CredentialsType.MQTT_BASIC:
        return Admitted(device, CredentialsType(type_))
    basic = basic_of(body.get("credentialsValue"))
    return Admitted(device, CredentialsType.MQTT_BASIC, basic) if basic is not None else None
