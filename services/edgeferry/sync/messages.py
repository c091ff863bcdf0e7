"""From a received Cloud Event to messages of the Cloud's root chain.

Which message type comes of which action, and its metadata: the receiver's side of the
field (its telemetry and attribute processors). An attribute change (ATTRIBUTES_UPDATED,
ATTRIBUTES_DELETED) enters the chain as news; it is saved by the attributes service.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from edgeferry.core.errors import Never, Undecodable
from edgeferry.core.ids import derived_id
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TRACEPARENT, HEADER_TYPE, Outgoing, Record
from edgeferry.log.codec import codec

_NODE = "cloud.intake"
_SOURCE = "edge"
_NAMES = {
    "DEVICE": ("deviceName", "deviceType"),
    "ASSET": ("assetName", "assetType"),
    "ENTITY_VIEW": ("entityViewName", "entityViewType"),
}
_ATTRIBUTES = {
    "POST_ATTRIBUTES": "POST_ATTRIBUTES_REQUEST",
    "ATTRIBUTES_UPDATED": "ATTRIBUTES_UPDATED",
}

AvroRecord = Mapping[str, Any]


class UnsupportedAction(Never):
    """An event of a kind that this Cloud does not take."""


class RuleMessages:
    """Makes the messages; one per site."""

    def __init__(self, *, topic: str, tenant_id: str) -> None:
        """``topic``: the root chain's. ``tenant_id`` is the site's: what an event says
        about it is not believed."""
        self._topic = topic
        self._tenant_id = tenant_id
        self._event_codec = codec("CloudEvent")
        self._message_codec = codec("RuleMessage")

    def of(self, record: Record, edge_id: bytes) -> list[Outgoing]:
        """Point i of a telemetry event keeps the event's stamp + i. The same record always
        makes the same bytes.

        Raises Undecodable, UnknownSchema, UnsupportedAction."""
        event = self._event_codec.decode(record.value)
        action = event["action"]
        if action == "TIMESERIES_UPDATED":
            points = _body(event, "timeseries")["points"]
            return [
                self._message(
                    record, event, edge_id, i, "POST_TELEMETRY_REQUEST",
                    {"ts": str(point["ts"])}, _json(point["values"]),
                )
                for i, point in enumerate(points)
            ]  # fmt: skip
        if action in _ATTRIBUTES:
            body = _body(event, "attributes")
            metadata = {"ts": str(body["ts"]), "scope": body["scope"]}
            data = _json(body["values"])
            return [self._message(record, event, edge_id, 0, _ATTRIBUTES[action], metadata, data)]
        if action == "ATTRIBUTES_DELETED":
            body = _body(event, "attribute_keys")
            metadata = {"scope": body["scope"]}
            data = orjson.dumps({"attributes": body["keys"]}).decode()
            return [self._message(record, event, edge_id, 0, action, metadata, data)]
        raise UnsupportedAction(
            f"action {action} of {event['type']} {event['entity_id']} is not taken by this "
            "Cloud: replay this dead letter after an upgrade that takes it"
        )

    def _message(
        self,
        record: Record,
        event: AvroRecord,
        edge_id: bytes,
        index: int,
        type_: str,
        metadata: dict[str, str],
        data: str,
    ) -> Outgoing:
        entity_type, entity_id = event["entity_type"], event["entity_id"]
        metadata["source"] = _SOURCE
        metadata["edgeId"] = edge_id.decode()
        names = _NAMES.get(entity_type)
        if names is not None:
            metadata[names[0]] = event["entity_name"]
            metadata[names[1]] = event["entity_profile"]
        value = self._message_codec.encode(
            {
                "id": derived_id(event["id"], _NODE, index),
                "tenant_id": self._tenant_id,
                "ts": record.timestamp,
                "stamp": event["stamp"] + index,
                "stack": (),
                "type": type_,
                "entity_type": entity_type,
                "entity_id": entity_id,
                "metadata": metadata,
                "data_type": "JSON",
                "data": data,
            }
        )
        headers = [(HEADER_ORIGIN, edge_id), (HEADER_TYPE, type_.encode())]
        headers += [header for header in record.headers if header[0] == HEADER_TRACEPARENT]
        return Outgoing(self._topic, entity_id.encode(), value, headers)


def _body(event: AvroRecord, name: str) -> AvroRecord:
    body: AvroRecord | None = event[name]
    if body is None:
        raise Undecodable(f"an event with action {event['action']} has no {name}")
    return body


def _json(entries: list[AvroRecord]) -> str:
    """JSON text of KvEntries; what is JSON already goes in as it is."""
    values: dict[str, Any] = {}
    for entry in entries:
        key, value, number, decimal, text, parsed = entry.values()
        if number is not None:
            values[key] = number
        elif decimal is not None:
            values[key] = decimal
        elif text is not None:
            values[key] = text
        elif value is not None:
            values[key] = value
        elif parsed is not None:
            values[key] = orjson.Fragment(parsed)
        else:
            raise Undecodable(f"key {key!r} has no value")
    return orjson.dumps(values).decode()
