"""Devices and edges as the field's JSON, and changes of them."""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from edgeferry.api.bodies import bad_request
from edgeferry.api.context import AdmittedEdge, ApiContext
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import NULL_ID, entity_id
from edgeferry.api.profiles import DEFAULT_PROFILE, profile_id
from edgeferry.core.changes import Change, EntityAction, EntityChange
from edgeferry.core.entity_store import MADE_BY
from edgeferry.core.ids import new_entity_id
from edgeferry.core.message import EntityType
from edgeferry.core.store import Entity

MOST_CHARACTERS: Final = 255
_UUID_EPOCH_100NS: Final = 0x01B21DD213814000


class Entities:
    """Reads entities and wishes changes, of one site."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._store = context.store.entities
        self._writing = context.writing

    async def known(self, kind: EntityType, id_: str) -> Entity:
        """Raises ApiError, StoreUnavailable."""
        found = (await self._store.entities([(kind.value, id_)])).get((kind.value, id_))
        if found is None or found.deleted or found.tenant_id != self._writing.tenant_id:
            raise _not_found(kind.value, id_)
        return found

    async def check_here(self, type_: str, id_: str) -> None:
        """Whether its values are this tenant's: of an entity that nobody knows there are none.
        Raises ApiError, StoreUnavailable."""
        tenant_id = self._writing.tenant_id
        if type_ == EntityType.TENANT:
            here = id_ == tenant_id
        else:
            found = (await self._store.entities([(type_, id_)])).get((type_, id_))
            here = found is None or found.tenant_id == tenant_id
        if not here:
            raise _not_found(type_, id_)

    def change(
        self,
        kind: EntityType,
        id_: str,
        action: EntityAction,
        *,
        body: Mapping[str, Any] | None = None,
        edge_id: str = "",
    ) -> EntityChange:
        return EntityChange(
            id=new_entity_id(),
            tenant_id=self._writing.tenant_id,
            entity_type=kind,
            entity_id=id_,
            action=action,
            origin=self._writing.origin,
            created_time=self._context.clock.now_ms(),
            edge_id=edge_id,
            body=json.dumps(body) if body is not None else "",
        )

    async def submit(self, *changes: Change) -> None:
        """Raises LogUnavailable, NotAppliedYet, RecordTooLarge."""
        await self._writing.changes.submit(changes)


def _not_found(type_: str, id_: str) -> ApiError:
    text = f"{type_.capitalize()} with id [{id_}] is not found"
    return ApiError(404, ErrorCode.NOT_FOUND, text)


def text_of(body: Mapping[str, Any], name: str, *, wanted: bool = False) -> str:
    """A text of a body, empty where there is none. Raises ApiError."""
    value = body.get(name)
    if value is None and not wanted:
        return ""
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        raise bad_request(f"{name}: a text of at most {MOST_CHARACTERS} characters is wanted")
    if wanted and not value.strip():
        raise bad_request(f"{name}: should be specified")
    if not value.isprintable():
        raise bad_request(f"{name}: printable text is wanted")
    return value


def saved_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an entity's JSON. Raises ApiError."""
    info = body.get("additionalInfo")
    if info is not None and not isinstance(info, dict):
        raise bad_request("additionalInfo: an object is wanted")
    return {
        "name": text_of(body, "name", wanted=True),
        "type": text_of(body, "type") or DEFAULT_PROFILE,
        "label": text_of(body, "label"),
        "additionalInfo": info or {},
    }


def id_of(body: Mapping[str, Any], name: str = "id") -> str:
    """Of ``{"id": {"entityType", "id"}}``; empty where there is none. Raises ApiError."""
    given = body.get(name)
    if isinstance(given, dict):
        given = given.get("id")
    if given is None:
        return ""
    try:
        return str(UUID(given))
    except (ValueError, TypeError, AttributeError):
        raise bad_request(f"{name}: a UUID is wanted") from None


def check_version(body: Mapping[str, Any], stands: int) -> None:
    """A client that changes what it has read long ago is told. Raises ApiError."""
    given = body.get("version")
    if given is None:
        return
    if type(given) is not int:
        raise bad_request("version: a whole number is wanted")
    if given != stands:
        text = f"version {given} was changed meanwhile, to {stands}: read it again"
        raise ApiError(409, ErrorCode.VERSION_CONFLICT, text)


def device_shown(entity: Entity) -> dict[str, Any]:
    return {
        "id": entity_id("DEVICE", entity.entity_id),
        "createdTime": entity.created_time,
        "tenantId": entity_id("TENANT", entity.tenant_id),
        "customerId": entity_id("CUSTOMER", NULL_ID),
        "name": entity.name,
        "type": entity.profile or DEFAULT_PROFILE,
        "label": entity.label or None,
        "deviceProfileId": entity_id(
            "DEVICE_PROFILE", profile_id(entity.tenant_id, entity.profile)
        ),
        "firmwareId": None,
        "softwareId": None,
        "deviceData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": {"type": "DEFAULT"},
        },
        "additionalInfo": _info_of(entity),
        "version": entity.version,
    }


def _info_of(entity: Entity) -> dict[str, Any]:
    info: dict[str, Any] = json.loads(entity.additional_info)
    info.pop(MADE_BY, None)
    return info


def device_info_shown(entity: Entity, *, active: bool) -> dict[str, Any]:
    return {
        **device_shown(entity),
        "customerTitle": None,
        "customerIsPublic": False,
        "deviceProfileName": entity.profile or DEFAULT_PROFILE,
        "active": active,
    }


def edge_shown(edge: AdmittedEdge, entity: Entity | None, tenant_id: str) -> dict[str, Any]:
    """``secret`` is shown once, when the edge is made; else it is empty, as are two members that
    some client programs want."""
    made_ms = (UUID(edge.id).time - _UUID_EPOCH_100NS) // 10_000
    return {
        "id": entity_id("EDGE", edge.id),
        "createdTime": made_ms,
        "tenantId": entity_id("TENANT", tenant_id),
        "customerId": entity_id("CUSTOMER", NULL_ID),
        "rootRuleChainId": None,
        "name": edge.name,
        "type": entity.profile if entity and entity.profile else DEFAULT_PROFILE,
        "label": entity.label if entity and entity.label else None,
        "routingKey": edge.key,
        "secret": edge.secret,
        "edgeLicenseKey": "",
        "cloudEndpoint": "",
        "version": entity.version if entity else 0,
        "additionalInfo": _info_of(entity) if entity else {},
    }


def edge_info_shown(edge: AdmittedEdge, entity: Entity | None, tenant_id: str) -> dict[str, Any]:
    shown = edge_shown(edge, entity, tenant_id)
    return {**shown, "customerTitle": None, "customerIsPublic": False}
