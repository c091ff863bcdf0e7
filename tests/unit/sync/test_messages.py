"""From a received Cloud Event to messages of the root chain."""

import json

import pytest

from edgeferry.core.errors import Undecodable
from edgeferry.core.events import AttributesBody, CloudEvent
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.log.codec import decode_message, encode_cloud_event
from edgeferry.sync.messages import RuleMessages, UnsupportedAction

DEVICE = "8f1c6a10-5b1e-11f0-8000-0242ac120007"
EDGE = b"8f1c6a10-5b1e-11f0-8000-0242ac120001"
HEADERS = [("traceparent", b"00-abc"), ("origin", b"edge"), ("edge", EDGE)]


def event(action: str = "TIMESERIES_UPDATED", **changed: object) -> CloudEvent:
    fields: dict[str, object] = {
        "id": "e-1", "created_time": 5, "stamp": 1000, "tenant_id": "forged",
        "action": action, "type": "DEVICE", "entity_type": "DEVICE", "entity_id": DEVICE,
        "entity_name": "Thermometer", "entity_profile": "default",
    }  # fmt: skip
    return CloudEvent(**{**fields, **changed})  # type: ignore[arg-type]


def messages(of: CloudEvent) -> list[RuleMessage]:
    record = Record("t", 0, 9, 777, b"k", encode_cloud_event(of), HEADERS)
    made = RuleMessages(site="cloud", tenant_id="tenant", source="edge").of(record, EDGE).records
    assert {outgoing.topic for outgoing in made} <= {"cloud.root"}
    return [decode_message(outgoing.value) for outgoing in made]


def test_each_timestamp_becomes_one_telemetry_message() -> None:
    points = [TsPoint(10, {"t": 1}), TsPoint(20, {"t": 2})]
    first, second = messages(event(timeseries=points))
    assert (first.type, first.data, first.stamp) == ("POST_TELEMETRY_REQUEST", '{"t":1}', 1000)
    assert (second.data_ts, second.data, second.stamp) == (20, '{"t":2}', 1001)
    assert first.id != second.id
    assert first.metadata == {
        "ts": "10", "source": "edge", "edgeId": EDGE.decode(),
        "deviceName": "Thermometer", "deviceType": "default",
    }  # fmt: skip
    assert (first.ts, first.entity_id, first.data_type) == (777, DEVICE, "JSON")


def test_the_tenant_is_the_sites_whatever_the_event_says() -> None:
    (message,) = messages(event(timeseries=[TsPoint(1, {"t": 1})]))
    assert message.tenant_id == "tenant"


def test_values_keep_their_types() -> None:
    values: dict[str, Value] = {
        "b": False,
        "l": 2**53 + 1,
        "d": 20.0,
        "s": "x",
        "j": {"deep": [1, None]},
        "z": 0,
    }
    (message,) = messages(event(timeseries=[TsPoint(1, values)]))
    assert json.loads(message.data) == values
    assert '"d":20.0' in message.data


def test_a_repeat_makes_the_same_bytes() -> None:
    record = Record(
        "t", 0, 9, 777, b"k", encode_cloud_event(event(timeseries=[TsPoint(1, {"t": 1})])), HEADERS
    )
    maker = RuleMessages(site="cloud", tenant_id="tenant", source="edge")
    assert maker.of(record, EDGE) == maker.of(record, EDGE)


def test_headers_carry_trace_origin_and_type() -> None:
    value = encode_cloud_event(event(timeseries=[TsPoint(1, {"t": 1})]))
    record = Record("t", 0, 9, 777, b"other", value, HEADERS)
    (outgoing,) = (
        RuleMessages(site="cloud", tenant_id="tenant", source="edge").of(record, EDGE).records
    )
    assert dict(outgoing.headers) == {
        "traceparent": b"00-abc", "origin": EDGE, "type": b"POST_TELEMETRY_REQUEST",
    }  # fmt: skip
    assert outgoing.key == DEVICE.encode()


@pytest.mark.parametrize(
    ("action", "type_"),
    [
        ("POST_ATTRIBUTES", "POST_ATTRIBUTES_REQUEST"),
    ],
)
def test_attributes_become_a_message_with_scope_and_ts(action: str, type_: str) -> None:
    body = AttributesBody(Scope.CLIENT, 42, {"fw": "1.2"}, {})
    (message,) = messages(event(action, attributes=body))
    assert (message.type, message.data) == (type_, '{"fw":"1.2"}')
    assert message.metadata["scope"] == "CLIENT_SCOPE"
    assert message.metadata["ts"] == "42"
    assert message.metadata["source"] == "edge"


def test_an_assets_names_are_an_assets() -> None:
    (message,) = messages(event(entity_type="ASSET", timeseries=[TsPoint(1, {"t": 1})]))
    assert message.metadata["assetName"] == "Thermometer"
    assert "deviceName" not in message.metadata


def test_an_action_that_is_not_taken_says_so() -> None:
    with pytest.raises(UnsupportedAction, match="ALARM_ACK"):
        messages(event("ALARM_ACK"))


def test_an_event_without_its_body_is_undecodable() -> None:
    with pytest.raises(Undecodable, match="timeseries"):
        messages(event())
