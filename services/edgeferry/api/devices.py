"""Devices of a site: looking up, making, changing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from edgeferry.api.activity import active_ones
from edgeferry.api.bodies import bad_request
from edgeferry.api.context import ApiContext
from edgeferry.api.credentials import DeviceCredentials
from edgeferry.api.entities import (
    Entities,
    check_version,
    device_info_shown,
    id_of,
    saved_body,
)
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.named_locks import NamedLocks
from edgeferry.api.pages import Page, entity_id
from edgeferry.api.profiles import DEFAULT_PROFILE, profile_id
from edgeferry.core.changes import EntityAction, edge_of
from edgeferry.core.entity_store import maker_of
from edgeferry.core.ids import new_entity_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import Entity

DEVICE: Final = EntityType.DEVICE
_MOST_IDS: Final = 1_000


class Devices:
    """All raise ApiError, StoreUnavailable; what changes, LogUnavailable, NotAppliedYet, too."""

    def __init__(self, context: ApiContext) -> None:
        self._store = context.store.entities
        self._attributes = context.store.attributes
        self._tenant_id = context.writing.tenant_id
        self._origin = context.writing.origin
        self._saving = NamedLocks()
        self._entities = Entities(context)
        self.credentials = DeviceCredentials(context, self._entities)

    async def get(self, id_: str) -> Entity:
        return await self._entities.known(DEVICE, id_)

    async def named(self, name: str) -> Entity:
        found = await self._store.named(self._tenant_id, DEVICE, name)
        if found is None:
            raise ApiError(404, ErrorCode.NOT_FOUND, f"Device with name [{name}] is not found")
        return found

    async def page(self, page: Page, type_: str) -> tuple[Sequence[Entity], int]:
        return await self._store.page(
            self._tenant_id,
            DEVICE,
            page.limit,
            page.skip,
            profile=type_,
            text=page.text,
            order=page.order,
        )

    async def infos(self, found: Sequence[Entity]) -> list[dict[str, Any]]:
        """As they are shown, with what else is known of them."""
        active = await active_ones(self._attributes, found)
        return [device_info_shown(one, active=one.entity_id in active) for one in found]

    async def by_ids(self, text: str) -> list[Entity]:
        ids = list(dict.fromkeys(ids_of(text, "deviceIds")))
        found = await self._store.entities([(DEVICE.value, id_) for id_ in ids])
        return [
            one for one in found.values() if not one.deleted and one.tenant_id == self._tenant_id
        ]

    async def types(self) -> list[dict[str, Any]]:
        tenant = entity_id("TENANT", self._tenant_id)
        return [
            {"tenantId": tenant, "entityType": "DEVICE", "type": name or DEFAULT_PROFILE}
            for name in await self._store.profiles(self._tenant_id, DEVICE)
        ]

    async def profiles(self) -> list[str]:
        """Names of those in use, sorted, and the default one."""
        return sorted(
            {DEFAULT_PROFILE, *await self._store.profiles(self._tenant_id, DEVICE)} - {""}
        )

    async def save(
        self,
        body: Mapping[str, Any],
        *,
        token: str | None = None,
        credentials: Mapping[str, Any] | None = None,
    ) -> Entity:
        """A new one, or with an id one that is there. token: of its access; credentials: of
        any type. A new one without either gets a token."""
        saved, id_ = saved_body(body), id_of(body)
        saved["type"] = await self._profile(body, saved["type"])
        given = token or (credentials or {}).get("credentialsId")
        wanted = {"name": saved["name"], "id": id_, "token": given}
        names = [f"{what} {one}" for what, one in wanted.items() if one]
        async with self._saving.held(*names):  # two of one must not pass the checks together
            if id_:
                check_version(body, (await self.get(id_)).version)
            same = await self._store.named(self._tenant_id, DEVICE, saved["name"])
            if same is not None and same.entity_id != id_:
                raise bad_request("Device with such name already exists!")
            made = id_ or new_entity_id()
            changes = [self._entities.change(DEVICE, made, EntityAction.SAVED, body=saved)]
            if credentials is not None:
                changes.append(await self.credentials.change(made, credentials))
            elif not id_ or token is not None:
                changes.append(await self.credentials.token_change(made, token))
            await self._entities.submit(*changes)
        return await self.get(made)

    async def delete(self, id_: str) -> None:
        """At an Edge only of what was made there: it is deleted at both ends."""
        device = await self.get(id_)
        # of one that is older than its maker is kept, who changed it last is all that is known
        maker = maker_of(device) or device.origin
        if edge_of(self._origin) and maker not in ("", self._origin):
            raise ApiError(
                403,
                ErrorCode.PERMISSION_DENIED,
                f"device {device.name} was not made at this edge: unassign it from this edge in "
                "the Cloud (DELETE /api/edge/EDGE_ID/device/DEVICE_ID), or delete it there",
            )
        await self._entities.submit(self._entities.change(DEVICE, id_, EntityAction.DELETED))

    async def _profile(self, body: Mapping[str, Any], type_: str) -> str:
        """The name of the profile that is meant: its id goes before the type."""
        wanted = id_of(body, "deviceProfileId")
        if not wanted:
            return type_
        for name in (type_, *await self.profiles()):
            if profile_id(self._tenant_id, name) == wanted:
                return name
        raise bad_request("Device is referencing to non-existent device profile!")


def ids_of(text: str, name: str) -> list[str]:
    """Raises ApiError."""
    try:
        ids = [str(UUID(part)) for part in text.split(",") if part]
    except ValueError:
        raise bad_request(f"{name}: UUIDs with commas are wanted") from None
    if len(ids) > _MOST_IDS:
        raise bad_request(f"{name}: at most {_MOST_IDS} at a time")
    return ids
