"""One record of each subject, its fields and its bytes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import orjson

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.log.codec import (
    codec,
    decode_cloud_event,
    decode_dead_letter,
    decode_edge_event,
    decode_message,
    encode_cloud_event,
    encode_dead_letter,
    encode_edge_event,
    encode_message,
)
from edgeferry.log.schemas import newest_id, registered_schemas

SUBJECTS = sorted({schema.subject for schema in registered_schemas().values()})

DECODERS: dict[str, Callable[[bytes | None], object]] = {
    **{subject: codec(subject).decode for subject in SUBJECTS},
    "decode_message": decode_message,
    "decode_cloud_event": decode_cloud_event,
    "decode_edge_event": decode_edge_event,
    "decode_dead_letter": decode_dead_letter,
}

MESSAGE = RuleMessage(
    id="5f0a7f66-0000-4000-8000-000000000001",
    tenant_id="8f1c6a10-5b1e-11f0-8000-0242ac120002",
    ts=1_700_000_000_000,
    stamp=1_700_000_000_000_001,
    stack=[],
    type="POST_TELEMETRY_REQUEST",
    entity_type="DEVICE",
    entity_id="9f7c1f80-5b1e-11f0-8000-0242ac120002",
    metadata={"deviceName": "sensor-17", "deviceType": "default"},
    data_type="JSON",
    data='{"temperature": 21.5}',
)
EVENT = CloudEvent(
    id=MESSAGE.id,
    created_time=MESSAGE.ts,
    stamp=MESSAGE.stamp,
    tenant_id=MESSAGE.tenant_id,
    action="TIMESERIES_UPDATED",
    type="DEVICE",
    entity_type="DEVICE",
    entity_id=MESSAGE.entity_id,
    entity_name="sensor-17",
    entity_profile="default",
)
LETTER = DeadLetter(
    key=b"k",
    value=b"\x00\xff",
    headers=(("traceparent", b"00-1"), ("type", b"")),
    topic="edge.root",
    partition=3,
    offset=2**40,
    site="edge",
    chain="edge_root",
    node="save",
    error_class="Undecodable",
    error_text="not a RuleMessage",
    first_failure=1_700_000_000_000,
    last_failure=1_700_000_000_500,
    attempts=2,
)


def prefix(subject: str) -> bytes:
    return b"\x00" + newest_id(subject).to_bytes(4, "big")


def message_record(message: RuleMessage) -> dict[str, Any]:
    fields = dataclasses.asdict(message)
    del fields["_json"]
    return fields


def kv_record(key: str, value: Value) -> dict[str, Any]:
    named = {"bool_v": None, "long_v": None, "dbl_v": None, "str_v": None, "json_v": None}
    names = {bool: "bool_v", int: "long_v", float: "dbl_v", str: "str_v"}
    name = names.get(type(value))
    # orjson writes the text of a JSON value; how it does is not Avro's business
    found = {"json_v": orjson.dumps(value).decode()} if name is None else {name: value}
    return {"key": key, **named, **found}


def event_record(event: CloudEvent) -> dict[str, Any]:
    record = dataclasses.asdict(event)
    if event.timeseries is not None:
        points = [
            {"ts": ts, "values": [kv_record(*item) for item in values.items()]}
            for ts, values in event.timeseries
        ]
        record["timeseries"] = {"points": points}
    if event.attributes is not None:
        values = event.attributes.values
        record["attributes"]["values"] = [kv_record(*item) for item in values.items()]
    return record


ENCODED = {
    "RuleMessage": encode_message(MESSAGE),
    "CloudEvent": encode_cloud_event(
        dataclasses.replace(
            EVENT, timeseries=[TsPoint(1, {"b": True, "l": 1, "d": 0.5, "s": "x", "j": [1]})]
        )
    ),
    "EdgeEvent": encode_edge_event(EdgeEvent("edge-1", "uid-1", EVENT)),
    "DeadLetter": encode_dead_letter(LETTER),
}
TYPED = {
    "RuleMessage": decode_message,
    "CloudEvent": decode_cloud_event,
    "EdgeEvent": decode_edge_event,
    "DeadLetter": decode_dead_letter,
}
