"""What the push nodes make of a message: the event that goes over the link, up or down.

Which message type becomes which event is semantics 1.1 of the field. Telemetry goes to the
telemetry lane, all else to the general lane (contracts 2). The event's id is derived from
the message's, so a repeated hop makes the same event.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from edgeferry.core.body import (
    attribute_scope,
    attributes,
    data_ts,
    deleted_attributes,
    deleted_timeseries,
    parsed,
    telemetry,
    updated_telemetry,
    versions,
)
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Scope, TsPoint
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.message_type import MessageType as T

ORIGINATORS: Final = frozenset(
    {
        EntityType.DEVICE,
        EntityType.ASSET,
        EntityType.ENTITY_VIEW,
        EntityType.DASHBOARD,
        EntityType.TENANT,
        EntityType.CUSTOMER,
        EntityType.USER,
        EntityType.EDGE,
    }
)
"""Those that the other site can store for."""

_NAMES_IN_METADATA: Final[Mapping[str, tuple[str, str]]] = {
    EntityType.DEVICE: ("deviceName", "deviceType"),
    EntityType.ASSET: ("assetName", "assetType"),
}


class Body(NamedTuple):
    """What tells one kind of event from another; the rest is the same for all."""

    action: str
    telemetry: bool = False
    alarm_id: str = ""
    timeseries: list[TsPoint] | None = None
    attributes: AttributesBody | None = None
    attribute_keys: AttributeKeysBody | None = None
    rpc: str | None = None
    alarm: str | None = None
    entity: str | None = None

    @property
    def part(self) -> str:
        """Two push nodes may send one message in two scopes: these are two events."""
        scoped = self.attributes or self.attribute_keys
        return f" {scoped.scope}" if scoped else ""


Maker = Callable[[RuleMessage, Scope], Body | None]


def body_of(message: RuleMessage, scope: Scope) -> Body | None:
    """``scope``: of attributes, where the message names none. None: there is nothing to say.

    Raises InvalidPayload: the message cannot be pushed, and why."""
    make = BODIES.get(message.type)
    if make is None:
        raise InvalidPayload(f"Unsupported msg type {message.type}")
    if message.entity_type not in ORIGINATORS:
        raise InvalidPayload(f"Unsupported originator type {message.entity_type}")
    return make(message, scope)


def event_of(message: RuleMessage, body: Body, maker: str) -> CloudEvent:
    """``maker``: tells apart what is made of one message."""
    name, profile = _NAMES_IN_METADATA.get(message.entity_type, ("", ""))
    return CloudEvent(
        id=derived_id(message.id, maker, 0),
        created_time=message.ts,
        stamp=message.stamp,
        tenant_id=message.tenant_id,
        action=body.action,
        type="ALARM" if body.alarm_id else message.entity_type,
        entity_type="ALARM" if body.alarm_id else message.entity_type,
        entity_id=body.alarm_id or message.entity_id,
        entity_name=message.metadata.get(name, ""),
        entity_profile=message.metadata.get(profile, ""),
        timeseries=body.timeseries,
        attributes=body.attributes,
        attribute_keys=body.attribute_keys,
        rpc=body.rpc,
        alarm=body.alarm,
        entity=body.entity,
    )


# One function per kind of body. Each raises InvalidPayload; None: there is nothing to say.


def _telemetry(message: RuleMessage, scope: Scope) -> Body:
    read = updated_telemetry if message.type == T.TIMESERIES_UPDATED else telemetry
    points = read(message, data_ts(message))
    return Body("TIMESERIES_UPDATED", telemetry=True, timeseries=points)


def _deleted_telemetry(message: RuleMessage, scope: Scope) -> Body:
    """In the telemetry lane: after the values that it deletes."""
    wanted = deleted_timeseries(message)
    return Body("TIMESERIES_DELETED", telemetry=True, entity=wanted.text())


def _attributes(message: RuleMessage, scope: Scope) -> Body | None:
    posted = message.type == T.POST_ATTRIBUTES_REQUEST
    values = attributes(message)
    if not values:
        return None
    return Body(
        "POST_ATTRIBUTES" if posted else "ATTRIBUTES_UPDATED",
        attributes=AttributesBody(
            scope=attribute_scope(message, scope),
            ts=data_ts(message),
            values=values,
            versions=versions(message, values),
        ),
    )


def _attribute_keys(message: RuleMessage, scope: Scope) -> Body:
    keys = deleted_attributes(message)
    return Body(
        "ATTRIBUTES_DELETED",
        attribute_keys=AttributeKeysBody(
            attribute_scope(message, scope), keys, versions(message, keys)
        ),
    )


def _activity(message: RuleMessage, scope: Scope) -> Body | None:
    make: Maker = _attributes if message.metadata.get("scope") else _telemetry
    return make(message, scope)


def _alarm(message: RuleMessage, scope: Scope) -> Body:
    action = "UPDATED"
    if message.type in (T.ALARM_ACK, T.ALARM_CLEAR):
        action = message.type
    elif message.metadata.get("isNewAlarm", "").lower() == "true":
        action = "ADDED"
    elif message.metadata.get("isClearedAlarm", "").lower() == "true":
        action = "ALARM_CLEAR"
    return Body(action, alarm_id=_alarm_id(parsed(message)), alarm=message.data)


def _alarm_id(alarm: Any) -> str:
    """From ``{"id": uuid}`` or ``{"id": {"id": uuid}}``."""
    found = alarm.get("id") if isinstance(alarm, dict) else None
    if isinstance(found, dict):
        found = found.get("id")
    try:
        return str(UUID(found))
    except (TypeError, ValueError, AttributeError):
        raise InvalidPayload("the alarm in the body has no id that is a UUID") from None


def _rpc(message: RuleMessage, scope: Scope) -> Body:
    request = parsed(message)
    method = request.get("method") if isinstance(request, dict) else None
    if not isinstance(method, str) or not method:
        raise InvalidPayload("a command wants a method")
    try:
        params = json.dumps(request.get("params"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"params: {error}") from None
    call = {name: message.metadata.get(name) for name in ("requestId", "serviceId", "sessionId")}
    return Body("RPC_CALL", rpc=json.dumps({**call, "method": method, "params": params}))


BODIES: Final[Mapping[str, Maker]] = {
    T.POST_TELEMETRY_REQUEST: _telemetry,
    T.TIMESERIES_UPDATED: _telemetry,
    T.TIMESERIES_DELETED: _deleted_telemetry,
    T.POST_ATTRIBUTES_REQUEST: _attributes,
    T.ATTRIBUTES_UPDATED: _attributes,
    T.ATTRIBUTES_DELETED: _attribute_keys,
    T.CONNECT_EVENT: _activity,
    T.DISCONNECT_EVENT: _activity,
    T.ACTIVITY_EVENT: _activity,
    T.INACTIVITY_EVENT: _activity,
    T.ALARM: _alarm,
    T.ALARM_CREATED: _alarm,
    T.ALARM_UPDATED: _alarm,
    T.ALARM_SEVERITY_UPDATED: _alarm,
    T.ALARM_ACK: _alarm,
    T.ALARM_CLEAR: _alarm,
    T.TO_SERVER_RPC_REQUEST: _rpc,
}
