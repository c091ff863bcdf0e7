"""From a received Cloud Event to messages of the Cloud's root chain.

Which message type comes of which action, and its metadata: the receiver's side of the
field (its telemetry and attribute processors). Changes of attributes, entities and commands
go to the owner of changes instead (``sync.received_changes``), which tells the chain.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from edgeferry.core.errors import Never, Undecodable
from edgeferry.core.ids import derived_id
from edgeferry.core.message import DataType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TRACEPARENT, HEADER_TYPE, Outgoing, Record
from edgeferry.log.codec import codec, encode_message
from edgeferry.log.topics import root_topic, site_topic
from edgeferry.sync.device_requests import request_of, response_of
from edgeferry.sync.quick_events import EventHead, json_fragment, read_telemetry
from edgeferry.sync.received_changes import AvroRecord, ReceivedChanges, Source, body_of

_CLOUD = "cloud"
_JSON = str(DataType.JSON)
_NO_STACK: list[str] = []
_MAX_STAMP = 2**63 - 1
_NAMES = {
    "DEVICE": ("deviceName", "deviceType"),
    "ASSET": ("assetName", "assetType"),
    "ENTITY_VIEW": ("entityViewName", "entityViewType"),
}
_SCALARS = ("bool_v", "long_v", "dbl_v", "str_v")

Points = Sequence[tuple[int, dict[str, Any]]]


class UnsupportedAction(Never):
    """An event of a kind that this site does not take."""


class Taken(NamedTuple):
    """What an event is about, and what it becomes."""

    head: EventHead
    records: list[Outgoing]


class Told(NamedTuple):
    """What a message says; data: JSON text. Its metadata is completed."""

    type: str
    metadata: dict[str, str]
    data: str


class RuleMessages:
    """Makes the messages and changes; one per site."""

    def __init__(self, *, site: str, tenant_id: str, source: Source) -> None:
        """``source``: the side that the events come from. ``tenant_id`` is the site's: what
        an event says about it is not believed."""
        self._topic = root_topic(site)
        self._commands = site_topic(site, "device-commands")
        self._tenant_id = tenant_id
        self._source: Source = source
        self._node = "cloud.intake" if source == "edge" else "edge.apply"
        self._event_codec = codec("CloudEvent" if source == "edge" else "EdgeEvent")
        self._changes = ReceivedChanges(site=site, tenant_id=tenant_id, source=source)

    def of(self, record: Record, edge_id: bytes) -> Taken:
        """Point i of a telemetry event keeps the event's stamp + i. The same record always
        makes the same bytes.

        Raises Undecodable, UnknownSchema, UnsupportedAction."""
        quick = read_telemetry(record.value) if self._source == "edge" else None
        if quick is not None and quick.action == "TIMESERIES_UPDATED":
            records = self._telemetry(record, edge_id, quick.head, quick.points)
            return Taken(quick.head, records)
        event = self._event_codec.decode(record.value)
        head = EventHead(*(event[field] for field in EventHead._fields))
        action = event["action"]
        if action == "TIMESERIES_UPDATED":
            points = body_of(event, "timeseries")["points"]
            stamped = [(p["ts"], _values(p["values"])) for p in points]
            return Taken(head, self._telemetry(record, edge_id, head, stamped))
        if action == "POST_ATTRIBUTES":
            body = body_of(event, "attributes")
            metadata = {"ts": str(body["ts"]), "scope": body["scope"]}
            if body["versions"]:
                metadata["versions"] = json.dumps(body["versions"], ensure_ascii=False)
            data = _values(body["values"])
            type_ = "POST_ATTRIBUTES_REQUEST"
            return Taken(head, [self._message(record, edge_id, head, 0, type_, metadata, data)])
        if action == "TIMESERIES_DELETED":
            deleted = Told(str(MessageType.TIMESERIES_DELETED), {}, event["entity"] or "")
            return Taken(head, [self._told(record, edge_id, head, 0, deleted)])
        if action == "RPC_CALL" and (call := self._call(event, record, edge_id, head)):
            return Taken(head, [call])
        change = self._changes.of(event, record, edge_id)
        if change is None:
            raise UnsupportedAction(
                f"action {action} of {event['type']} {head.entity_id} is not taken by this "
                "site: replay this dead letter after an upgrade that takes it"
            )
        return Taken(head, [change])

    def _call(
        self, event: AvroRecord, record: Record, edge_id: bytes, head: EventHead
    ) -> Outgoing | None:
        """A device's call enters the Cloud's chain, the answer to one goes to its session at
        the Edge. None: it is about a command to a device."""
        if self._source == "edge":
            request = request_of(event["rpc"])
            if request is None:
                return None
            told = Told(str(MessageType.TO_SERVER_RPC_REQUEST), *request)
            return self._told(record, edge_id, head, 0, told)
        response = response_of(event["rpc"])
        if response is None:
            return None
        told = Told(str(MessageType.TO_SERVER_RPC_RESPONSE), *response)
        return self._told(record, edge_id, head, 0, told)._replace(topic=self._commands)

    def _telemetry(
        self, record: Record, edge_id: bytes, head: EventHead, points: Points
    ) -> list[Outgoing]:
        return [
            self._message(
                record, edge_id, head, i, "POST_TELEMETRY_REQUEST", {"ts": str(ts)}, values
            )
            for i, (ts, values) in enumerate(points)
        ]

    def _message(
        self,
        record: Record,
        edge_id: bytes,
        head: EventHead,
        index: int,
        type_: str,
        metadata: dict[str, str],
        data: dict[str, Any],
    ) -> Outgoing:
        told = Told(type_, metadata, orjson.dumps(data).decode())
        return self._told(record, edge_id, head, index, told)

    def _told(
        self, record: Record, edge_id: bytes, head: EventHead, index: int, told: "Told"
    ) -> Outgoing:
        type_, metadata, data = told
        event_id, stamp, entity_type, entity_id, name, profile = head
        if stamp > _MAX_STAMP - index:
            raise Undecodable(f"the stamp {stamp} leaves no room for point {index}")
        metadata["source"] = self._source
        if self._source == "edge":
            metadata["edgeId"] = edge_id.decode()
        keys = _NAMES.get(entity_type)
        if keys is not None:
            metadata[keys[0]] = name
            metadata[keys[1]] = profile
        value = encode_message(
            RuleMessage(
                derived_id(event_id, self._node, index),
                self._tenant_id,
                record.timestamp,
                stamp + index,
                _NO_STACK,
                type_,
                entity_type,
                entity_id,
                metadata,
                _JSON,
                data,
            )
        )
        origin = edge_id if self._source == "edge" else _CLOUD.encode()
        headers = [(HEADER_ORIGIN, origin), (HEADER_TYPE, type_.encode())]
        headers += [header for header in record.headers if header[0] == HEADER_TRACEPARENT]
        return Outgoing(self._topic, entity_id.encode(), value, headers)


def _values(entries: list[AvroRecord]) -> dict[str, Any]:
    """Of KvEntries; what is JSON already goes into the text as it is."""
    values: dict[str, Any] = {}
    for entry in entries:
        key = entry["key"]
        if entry["json_v"] is not None:
            try:
                values[key] = json_fragment(entry["json_v"])
            except ValueError as error:
                raise Undecodable(f"key {key!r} holds no JSON: {error}") from error
            continue
        given = [entry[field] for field in _SCALARS if entry[field] is not None]
        if not given:
            raise Undecodable(f"key {key!r} has no value")
        values[key] = given[0]
    return values
