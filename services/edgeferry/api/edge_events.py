"""Events of the Edge queue as the field's JSON (semantics of the field, section 2.1)."""

import json
from typing import Any

from edgeferry.api.pages import entity_id
from edgeferry.core.errors import Undecodable
from edgeferry.core.events import CloudEvent
from edgeferry.core.store import QueuedEvent
from edgeferry.log.codec import decode_edge_event


def event_shown(edge_id: str, tenant_id: str, queued: QueuedEvent) -> dict[str, Any]:
    """``body`` is null where the event has none, or one of a newer version."""
    try:
        event: CloudEvent | None = decode_edge_event(queued.value).event
    except Undecodable:
        event = None
    return {
        "id": {"id": event.id if event else queued.uid},
        "createdTime": queued.created_time,
        "tenantId": entity_id("TENANT", tenant_id),
        "edgeId": entity_id("EDGE", edge_id),
        "seqId": queued.seq,
        "uid": queued.uid,
        "type": queued.type,
        "action": queued.action,
        "entityId": queued.entity_id,
        "body": body_of(event) if event is not None else None,
    }


def body_of(event: CloudEvent) -> Any:
    if event.attributes is not None:
        told = event.attributes
        return {"kv": dict(told.values), "scope": told.scope, "ts": told.ts}
    if event.attribute_keys is not None:
        return {"keys": list(event.attribute_keys.keys), "scope": event.attribute_keys.scope}
    if event.timeseries is not None:
        return {"timeseries": [{"ts": p.ts, "values": dict(p.values)} for p in event.timeseries]}
    for text in (event.rpc, event.alarm, event.entity):
        if text:
            return _without_secrets(json.loads(text))
    return None


def _without_secrets(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: value for name, value in body.items() if name != "credentials"}
    return body
