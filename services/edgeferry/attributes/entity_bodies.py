"""What the body of a change of an entity says."""

import json
from typing import Any

from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.entity_store import LAST_GATEWAY
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.store import Entity


def object_of(text: str) -> dict[str, Any]:
    """Raises InvalidPayload."""
    try:
        document = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body of an entity change is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidPayload("the body of an entity change is no JSON object")
    return document


def credentials_text(change: EntityChange) -> str:
    """Of a change of credentials: the body itself, or what stands in it, as in an event.

    Raises InvalidPayload."""
    inner = object_of(change.body).get("credentials")
    return json.dumps(inner, ensure_ascii=False) if isinstance(inner, dict) else change.body


def edge_in(change: EntityChange) -> str:
    """Raises InvalidPayload."""
    if not change.edge_id:
        raise InvalidPayload(f"a change {change.action} wants an edge_id")
    return change.edge_id


def merged(
    change: EntityChange, body: dict[str, Any], stands: Entity | None, version: tuple[int, str]
) -> Entity:
    """What the body leaves open stays as it is."""
    return Entity(
        entity_type=change.entity_type,
        entity_id=change.entity_id,
        tenant_id=change.tenant_id,
        name=str(body.get("name") or (stands.name if stands else "")),
        profile=str(body.get("type") or (stands.profile if stands else "")),
        created_time=stands.created_time if stands else change.created_time,
        version=version[0],
        origin=version[1],
        label=str(body["label"] or "") if "label" in body else (stands.label if stands else ""),
        additional_info=_info(body.get("additionalInfo"), stands.additional_info if stands else ""),
        event_id=change.id,
        deleted=change.action is EntityAction.DELETED,
    )


def _info(given: object, stands: str) -> str:
    if not isinstance(given, dict):
        return stands or "{}"
    kept = json.loads(stands or "{}")
    if LAST_GATEWAY in kept:
        given = {LAST_GATEWAY: kept[LAST_GATEWAY]} | given
    return json.dumps(given)
