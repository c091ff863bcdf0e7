"""From a received event to the change that it wishes, for the owner of changes.

What the other site decided keeps its version and who decided it. A Cloud takes the origin
from the link, not from the event; an Edge believes its Cloud, which passes on what other
edges decided.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    VERSION_MAX,
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    RpcChange,
    RpcStatus,
    edge_of,
    edge_origin,
)
from edgeferry.core.errors import Undecodable
from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType
from edgeferry.core.record import HEADER_CLOCK, HEADER_ORIGIN, HEADER_TRACEPARENT, Outgoing, Record
from edgeferry.log.change_codec import encode_change
from edgeferry.log.codec import kv_value
from edgeferry.log.topics import site_topic

Source = Literal["edge", "cloud"]
AvroRecord = Mapping[str, Any]

_ENTITIES = frozenset(set(EntityType) - {EntityType.ALARM, EntityType.RULE_NODE})
_ENTITY_ACTIONS: Final[Mapping[str, EntityAction]] = {
    "ADDED": EntityAction.SAVED,
    "UPDATED": EntityAction.SAVED,
    "DELETED": EntityAction.DELETED,
    "CREDENTIALS_UPDATED": EntityAction.CREDENTIALS,
    "ASSIGNED_TO_EDGE": EntityAction.ASSIGNED,
    "UNASSIGNED_FROM_EDGE": EntityAction.UNASSIGNED,
}
_OF_ASSIGNMENT = (EntityAction.ASSIGNED, EntityAction.UNASSIGNED)


class ReceivedChanges:
    """Makes the changes; one per site. The same record always makes the same bytes."""

    def __init__(self, *, site: str, tenant_id: str, source: Source) -> None:
        self._topic = site_topic(site, "attribute-changes")
        self._tenant_id = tenant_id
        self._source = source

    def of(self, event: AvroRecord, record: Record, edge_id: bytes) -> Outgoing | None:
        """None: the event wishes no change that is known here. Raises Undecodable."""
        origin = self._origin(record, edge_id)
        try:
            change = self._change(event, origin, edge_id.decode(), record)
        except ValueError as error:
            raise Undecodable(f"action {event['action']}: {error}") from error
        if change is None:
            return None
        traces = [header for header in record.headers if header[0] == HEADER_TRACEPARENT]
        headers = [(HEADER_ORIGIN, origin.encode()), *traces]
        return Outgoing(self._topic, event["entity_id"].encode(), encode_change(change), headers)

    def _origin(self, record: Record, edge_id: bytes) -> str:
        if self._source == "edge":
            return edge_origin(edge_id.decode())
        # An inbox writes its headers last, so the sender's own stand before them.
        told = dict(record.headers).get(HEADER_ORIGIN, b"").decode(errors="replace")
        return told if edge_of(told) else CLOUD_ORIGIN

    def _change(
        self, event: AvroRecord, origin: str, edge_id: str, record: Record
    ) -> Change | None:
        action = event["action"]
        if action in ("ATTRIBUTES_UPDATED", "ATTRIBUTES_DELETED"):
            return self._attributes(event, origin)
        if action == "RPC_CALL":
            return self._command(event, origin, record)
        entity_action = _ENTITY_ACTIONS.get(action)
        if entity_action is None or event["type"] not in _ENTITIES:
            return None
        if self._source == "edge" and entity_action in _OF_ASSIGNMENT:
            return None  # who gets what is the Cloud's to say
        return self._entity(event, origin, entity_action, edge_id)

    def _attributes(self, event: AvroRecord, origin: str) -> AttributeChange:
        updated = event["action"] == "ATTRIBUTES_UPDATED"
        body = body_of(event, "attributes" if updated else "attribute_keys")
        values = body["values"] if updated else ()
        return AttributeChange(
            id=event["id"],
            tenant_id=self._tenant_id,
            entity_type=event["entity_type"],
            entity_id=event["entity_id"],
            scope=Scope(body["scope"]),
            origin=origin,
            created_time=body["ts"] if updated else event["created_time"],
            upserts={entry["key"]: kv_value(entry) for entry in values},
            deletes=() if updated else tuple(body["keys"]),
            versions={key: version for key, version in body["versions"].items() if version},
        )

    def _entity(
        self, event: AvroRecord, origin: str, action: EntityAction, edge_id: str
    ) -> EntityChange:
        body = event["entity"] or ""
        version = _object(body).get("version", 0) if body else 0
        if type(version) is not int or not 0 <= version <= VERSION_MAX:
            raise Undecodable(f"version {version!r} of an entity is no plausible one")
        return EntityChange(
            id=event["id"],
            tenant_id=self._tenant_id,
            entity_type=event["entity_type"],
            entity_id=event["entity_id"],
            action=action,
            origin=origin,
            created_time=event["created_time"],
            edge_id=edge_id if action in _OF_ASSIGNMENT else "",
            body=body,
            version=version,
        )

    def _command(self, event: AvroRecord, origin: str, record: Record) -> RpcChange:
        """Down a command to carry out or one that is over, up what became of one."""
        told = _object(event["rpc"] or "")
        rpc_id = told.get("requestUUID")
        if not isinstance(rpc_id, str):
            raise Undecodable("a command has no requestUUID")
        status, body = RpcStatus.QUEUED, event["rpc"]
        if self._source == "edge" or told.get("status", status) != status:
            status, body = _outcome(told)
        elif ahead_ms := _ahead_ms(record):
            body = _by_our_clock(told, ahead_ms)
        return RpcChange(
            id=event["id"],
            tenant_id=self._tenant_id,
            device_id=event["entity_id"],
            rpc_id=rpc_id,
            status=status,
            origin=origin,
            created_time=event["created_time"],
            body=body,
        )


def _ahead_ms(record: Record) -> int:
    """How far the clock that the command's end was set by is ahead of ours."""
    try:
        return int(dict(record.headers).get(HEADER_CLOCK, b"0"))
    except ValueError:
        return 0


def _by_our_clock(told: AvroRecord, ahead_ms: int) -> str:
    """The command, whose time is over at the same moment by the clock here."""
    end = told.get("expirationTime")
    if type(end) is not int or end <= 0:
        return json.dumps(told, ensure_ascii=False)
    return json.dumps({**told, "expirationTime": max(end - ahead_ms, 1)}, ensure_ascii=False)


def _outcome(told: AvroRecord) -> tuple[RpcStatus, str]:
    """State, and the response or the error as JSON text. Raises ValueError, Undecodable."""
    failed = told.get("error") is not None
    given = told.get("status", "FAILED" if failed else "SUCCESSFUL")
    status = RpcStatus(given)
    if status == RpcStatus.QUEUED:
        raise Undecodable("a command cannot go back to QUEUED")
    answer = told.get("error") if failed else told.get("response")
    if answer is None:
        return status, ""
    return status, answer if isinstance(answer, str) else json.dumps(answer)


def _object(text: str) -> dict[str, Any]:
    parsed = json.loads(text)
    if not isinstance(parsed, dict):
        raise Undecodable("a JSON object is wanted")
    return parsed


def body_of(event: AvroRecord, name: str) -> AvroRecord:
    """Raises Undecodable."""
    body: AvroRecord | None = event[name]
    if body is None:
        raise Undecodable(f"an event with action {event['action']} has no {name}")
    return body
