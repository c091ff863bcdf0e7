"""Credentials of devices: reading, changing, and the body that a change carries."""

import json
from collections.abc import Mapping
from typing import Any

from edgeferry.api.bodies import bad_request
from edgeferry.api.context import ApiContext
from edgeferry.api.entities import Entities, check_version, id_of
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import entity_id
from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.credentials import access_token, completed
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.ids import derived_id, new_token
from edgeferry.core.message import EntityType
from edgeferry.core.store import Credentials, Entity

DEVICE = EntityType.DEVICE


class DeviceCredentials:
    def __init__(self, context: ApiContext, entities: Entities) -> None:
        self._store = context.store.entities
        self._entities = entities

    async def shown(self, device_id: str) -> dict[str, Any]:
        """Raises ApiError, StoreUnavailable."""
        entity = await self._entities.known(DEVICE, device_id)
        found = await self._store.credentials((DEVICE.value, device_id))
        if found is None:
            raise ApiError(404, ErrorCode.NOT_FOUND, f"Device [{device_id}] has no credentials")
        return _shown(entity, found)

    async def save(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """In place of those before. Raises ApiError, StoreUnavailable, LogUnavailable."""
        device_id = id_of(body, "deviceId")
        if not device_id:
            raise bad_request("deviceId: should be specified")
        await self._entities.known(DEVICE, device_id)
        change = await self.change(device_id, body)
        stands = await self._store.credentials((DEVICE.value, device_id))
        check_version(body, stands.version if stands else 0)
        await self._entities.submit(change)
        return await self.shown(device_id)

    async def token_change(self, device_id: str, token: str | None) -> EntityChange:
        """To an access token, a new one where none is given. Raises ApiError."""
        return await self.change(device_id, _token_body(new_token() if token is None else token))

    async def change(self, device_id: str, body: Mapping[str, Any]) -> EntityChange:
        """Raises ApiError: no credentials, or another device has the same."""
        try:
            kept = completed(body)
        except InvalidPayload as error:
            raise bad_request(str(error)) from None
        holder = await self._store.with_token(kept["credentialsId"] or "")
        if holder is not None and holder != (DEVICE.value, device_id):
            raise bad_request("Device credentials are already assigned to another device!")
        return self._entities.change(DEVICE, device_id, EntityAction.CREDENTIALS, body=kept)


def _token_body(token: str) -> dict[str, str | None]:
    """Raises ApiError."""
    try:
        return access_token(token)
    except InvalidPayload as error:
        raise bad_request(f"accessToken: {error}") from None


def _shown(entity: Entity, credentials: Credentials) -> dict[str, Any]:
    body = json.loads(credentials.body)
    return {
        "id": {"id": derived_id(entity.entity_id, "credentials", 0)},
        "createdTime": entity.created_time,
        "deviceId": entity_id("DEVICE", entity.entity_id),
        "credentialsType": body.get("credentialsType"),
        "credentialsId": body.get("credentialsId"),
        "credentialsValue": body.get("credentialsValue"),
        "version": credentials.version,
    }
