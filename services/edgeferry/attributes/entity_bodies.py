"""What the body of a change of an entity says."""

import json
from typing import Any

from edgeferry.core.changes import EntityAction, EntityChange, edge_of
from edgeferry.core.entity_store import LAST_GATEWAY, MADE_BY, maker_of
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
    change: EntityChange,
    body: dict[str, Any],
    stands: Entity | None,
    version: tuple[int, str],
    maker: str = "",
) -> Entity:
    """What the body leaves open stays as it is. ``maker``: see ``maker_at``; empty: as before."""
    info = _info(body.get("additionalInfo"), stands.additional_info if stands else "", maker)
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
        additional_info=info,
        event_id=change.id,
        deleted=change.action is EntityAction.DELETED,
    )


def maker_at(change: EntityChange, stands: Entity | None, here: str) -> str:
    """The origin that made the entity, once it is as the change says; empty: not known. An Edge
    (``here``: its origin) goes by what its Cloud says of it, the Cloud by who sent it first, were
    it for a shell, or brought it back after it was deleted."""
    if edge_of(here) and change.origin != here:
        info = object_of(change.body).get("additionalInfo")
        told = info.get(MADE_BY) if isinstance(info, dict) else None
        return told if isinstance(told, str) else maker_of(stands)
    anew = stands is None or (stands.deleted and change.action is not EntityAction.DELETED)
    return change.origin if anew else maker_of(stands)


def _info(given: object, stands: str, maker: str) -> str:
    kept = json.loads(stands or "{}")
    maker = maker or kept.get(MADE_BY, "")
    info: dict[str, Any] = dict(given) if isinstance(given, dict) else dict(kept)
    if isinstance(given, dict) and LAST_GATEWAY in kept:
        info = {LAST_GATEWAY: kept[LAST_GATEWAY]} | info
    info.pop(MADE_BY, None)
    return json.dumps({MADE_BY: maker} | info if maker else info)
