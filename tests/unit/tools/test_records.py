"""How tools show records."""

from dataclasses import replace

from edgeferry.core.changes import EntityAction, EntityChange
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent
from edgeferry.core.kv import Scope, TsPoint
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.log.change_codec import encode_change
from edgeferry.log.codec import encode_cloud_event, encode_dead_letter, encode_message
from edgeferry.tools.records import Content, content, readable


def record(value: bytes | None, key: bytes | None = b"device-1") -> Record:
    return Record("cloud.root", 3, 17, 1000, key, value, (("type", b"X"), ("odd", b"\xff")))


LETTER = DeadLetter(
    key=b"\xfe", value=b"{", headers=(("h", b"1"),), topic="edge.root", partition=0, offset=5,
    site="edge", chain="edge_root", node="save", error_class="Undecodable", error_text="why",
    first_failure=1, last_failure=2, attempts=1,
)  # fmt: skip


def test_a_known_schema_is_decoded_and_its_bytes_are_hex() -> None:
    shown = readable(record(encode_dead_letter(LETTER)))
    assert shown["schema"] == "DeadLetter"
    value = shown["value"]
    assert isinstance(value, dict)
    assert (value["key"], value["value"], value["topic"]) == ("fe", "7b", "edge.root")


def test_its_place_key_and_headers_are_shown() -> None:
    shown = readable(record(None))
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("cloud.root", 3, 17)
    assert shown["key"] == "device-1"
    assert shown["headers"] == {"type": "X", "odd": "\\xff"}


def test_what_cannot_be_decoded_is_shown_with_its_bytes_and_why() -> None:
    shown = readable(record(b"\x00\x00\x00\x03\xe7abc"))
    assert shown["undecodable"] == "schema id 999 is not known here"
    assert shown["bytes"] == "00000003e7616263"
    assert readable(record(None, None))["undecodable"] == "no value"


EVENT = CloudEvent(
    id="e", created_time=1, stamp=1, tenant_id="t", action="TIMESERIES_UPDATED", type="DEVICE",
    entity_type="DEVICE", entity_id="d", entity_name="pump-1", entity_profile="",
)  # fmt: skip


def test_a_message_says_whose_it_is_and_what() -> None:
    message = RuleMessage(
        "m", "t", 1, 1, [], "POST_TELEMETRY_REQUEST", "DEVICE", "d", {}, "JSON", '{"a": 1}'
    )
    assert content(record(encode_message(message))) == Content(
        "DEVICE d", "POST_TELEMETRY_REQUEST", '{"a": 1}'
    )
    named = message.with_metadata(deviceName="pump-1")
    assert content(record(encode_message(named))).who == "pump-1"


def test_an_event_shows_its_values() -> None:
    telemetry = replace(EVENT, timeseries=[TsPoint(1_000, {"a": 1.5, "b": "x"})])
    assert content(record(encode_cloud_event(telemetry))) == Content(
        "pump-1", "TIMESERIES_UPDATED", '{"a":1.5,"b":"x"} at 1970-01-01 00:00:01.000Z'
    )
    body = AttributesBody(Scope.CLIENT, 1, {"model": "P"}, {"model": 0})
    attributes = replace(EVENT, action="ATTRIBUTES_UPDATED", attributes=body)
    assert content(record(encode_cloud_event(attributes))).body == 'CLIENT_SCOPE {"model":"P"}'
    keys = AttributeKeysBody(Scope.SERVER, ["a", "b"], {"a": 1, "b": 1})
    deleted = replace(EVENT, action="ATTRIBUTES_DELETED", attribute_keys=keys)
    assert content(record(encode_cloud_event(deleted))).body == "SERVER_SCOPE without a, b"


def test_what_cannot_be_decoded_has_a_line_too() -> None:
    assert content(record(b"\xff{")) == Content(
        "device-1", "undecodable", "no schema id at the start of the value: \\xff{"
    )
    assert content(record(None, None)) == Content("", "undecodable", "no value: ")
    assert content(record(encode_dead_letter(LETTER))).body == "why"


def test_credentials_are_never_shown() -> None:
    token = '{"credentialsType": "ACCESS_TOKEN", "credentialsId": "b22f"}'
    entity = f'{{"name": "pump-1", "credentials": {token}}}'
    kinds = (EntityAction.SAVED, EntityAction.CREDENTIALS)
    records = [
        record(encode_cloud_event(replace(EVENT, action="ADDED", entity=entity))),
        *(
            record(encode_change(EntityChange("1", "t", "DEVICE", "d", kind, "edge", 1, "", body)))
            for kind, body in zip(kinds, (entity, token), strict=True)
        ),
    ]
    for one in records:
        for shown in (str(readable(one)), content(one).body):
            assert "b22f" not in shown
            assert "***" in shown
    assert "pump-1" in content(records[0]).body
    assert "ACCESS_TOKEN" in content(records[2]).body
    words = replace(EVENT, action="ADDED", entity='credentials of {"no": JSON')
    assert content(record(encode_cloud_event(words))).body == words.entity
