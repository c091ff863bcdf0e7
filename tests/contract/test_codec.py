"""The codec against the ``avro`` package: the same bytes, the same values, both ways.

Also what it does with bytes that are not what the topic's schema says.
"""

import contextlib
import dataclasses
import json
import math
import random
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.log import codec as codec_module
from edgeferry.log.codec import (
    RecordCodec,
    codec,
    decode_cloud_event,
    decode_dead_letter,
    decode_edge_event,
    decode_message,
    encode_cloud_event,
    encode_dead_letter,
    encode_edge_event,
    encode_message,
    schema_id_of,
)
from edgeferry.log.schemas import RegisteredSchema, newest_id, registered_schemas
from tests.contract.avro_records import (
    LONG_MAX,
    LONG_MIN,
    avro_bytes,
    avro_record,
    cloud_events,
    edge_events,
    kv_values,
    rule_messages,
    values_of,
)

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


def _prefix(subject: str) -> bytes:
    return b"\x00" + newest_id(subject).to_bytes(4, "big")


def _message_record(message: RuleMessage) -> dict[str, Any]:
    fields = dataclasses.asdict(message)
    del fields["_json"]
    return fields


def _kv_record(key: str, value: Value) -> dict[str, Any]:
    named = {"bool_v": None, "long_v": None, "dbl_v": None, "str_v": None, "json_v": None}
    names = {bool: "bool_v", int: "long_v", float: "dbl_v", str: "str_v"}
    name = names.get(type(value))
    # orjson writes the text of a JSON value; how it does is not Avro's business
    found = {"json_v": orjson.dumps(value).decode()} if name is None else {name: value}
    return {"key": key, **named, **found}


def _event_record(event: CloudEvent) -> dict[str, Any]:
    record = dataclasses.asdict(event)
    if event.timeseries is not None:
        points = [
            {"ts": ts, "values": [_kv_record(*item) for item in values.items()]}
            for ts, values in event.timeseries
        ]
        record["timeseries"] = {"points": points}
    if event.attributes is not None:
        values = event.attributes.values
        record["attributes"]["values"] = [_kv_record(*item) for item in values.items()]
    return record


class TestAgainstAvro:
    @pytest.mark.parametrize("subject", SUBJECTS)
    @given(data=st.data())
    def test_every_record_is_the_same_both_ways(self, subject: str, data: st.DataObject) -> None:
        schema = registered_schemas()[newest_id(subject)].parsed
        record = data.draw(values_of(schema))
        encoded = codec(subject).encode(record)
        assert encoded == _prefix(subject) + avro_bytes(subject, record)
        assert codec(subject).decode(encoded) == record
        assert avro_record(subject, encoded[5:]) == record

    @given(rule_messages)
    def test_messages(self, message: RuleMessage) -> None:
        record = _message_record(message)
        encoded = encode_message(message)
        assert encoded == _prefix("RuleMessage") + avro_bytes("RuleMessage", record)
        assert encoded == codec("RuleMessage").encode(record)
        assert decode_message(encoded) == message

    @given(cloud_events)
    def test_cloud_events(self, event: CloudEvent) -> None:
        record = _event_record(event)
        encoded = encode_cloud_event(event)
        assert encoded == _prefix("CloudEvent") + avro_bytes("CloudEvent", record)
        assert encoded == codec("CloudEvent").encode(record)
        assert decode_cloud_event(encoded) == event

    @given(edge_events)
    def test_edge_events(self, event: EdgeEvent) -> None:
        record = {"edge_id": event.edge_id, "uid": event.uid, **_event_record(event.event)}
        encoded = encode_edge_event(event)
        assert encoded == _prefix("EdgeEvent") + avro_bytes("EdgeEvent", record)
        assert encoded == codec("EdgeEvent").encode(record)
        assert decode_edge_event(encoded) == event

    @pytest.mark.parametrize("letter", [LETTER, LETTER._replace(key=None, value=None, headers=())])
    def test_dead_letters(self, letter: DeadLetter) -> None:
        headers = [{"name": name, "value": value} for name, value in letter.headers]
        record = {**letter._asdict(), "headers": headers}
        encoded = encode_dead_letter(letter)
        assert encoded == _prefix("DeadLetter") + avro_bytes("DeadLetter", record)
        assert decode_dead_letter(encoded) == letter

    @given(kv_values)
    def test_a_value_keeps_its_type(self, value: Value) -> None:
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": value})])
        timeseries = decode_cloud_event(encode_cloud_event(event)).timeseries
        assert timeseries is not None
        found = timeseries[0].values["k"]
        assert found == value
        assert type(found) is type(value)

    @pytest.mark.parametrize("length", [0, 1, 63, 64, 8191, 8192, 8193, 1_000_000])
    def test_texts_of_every_length(self, length: int) -> None:
        for letter in ("x", "é"):
            message = dataclasses.replace(MESSAGE, data=letter * length, metadata={"k": "v"})
            record = _message_record(message)
            assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
            assert decode_message(encode_message(message)) == message

    @pytest.mark.parametrize("count", [0, 1, 63, 64, 300, 9000])
    def test_collections_of_every_size(self, count: int) -> None:
        names = [f"name-{i}" for i in range(count)]
        message = dataclasses.replace(MESSAGE, stack=names, metadata=dict.fromkeys(names, "v"))
        record = _message_record(message)
        assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
        values: dict[str, Value] = dict.fromkeys(names, 1)
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(i, values) for i in range(3)])
        assert encode_cloud_event(event)[5:] == avro_bytes("CloudEvent", _event_record(event))

    @pytest.mark.parametrize("exponent", range(64))
    def test_longs_of_every_size(self, exponent: int) -> None:
        for near in (2**exponent - 1, 2**exponent, -(2**exponent), -(2**exponent) - 1):
            number = min(max(near, LONG_MIN), LONG_MAX)
            message = dataclasses.replace(MESSAGE, ts=number, stamp=number)
            record = _message_record(message)
            assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
            assert decode_message(encode_message(message)) == message

    def test_not_a_number_and_infinity_pass_as_doubles(self) -> None:
        values: dict[str, Value] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0}
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(1, values)])
        encoded = encode_cloud_event(event)
        assert encoded[5:] == avro_bytes("CloudEvent", _event_record(event))
        timeseries = decode_cloud_event(encoded).timeseries
        assert timeseries is not None
        assert repr(timeseries[0].values) == repr(values)

    @pytest.mark.parametrize("number", [LONG_MAX + 1, LONG_MIN - 1, 2**70, -(2**70)])
    def test_a_number_above_64_bits_is_refused(self, number: int) -> None:
        with pytest.raises(OverflowError, match="64 bits"):
            encode_message(dataclasses.replace(MESSAGE, ts=number))
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": number})])
        with pytest.raises(OverflowError, match="64 bits"):
            encode_cloud_event(event)

    def test_half_a_character_is_refused(self) -> None:
        with pytest.raises(UnicodeEncodeError):
            encode_message(dataclasses.replace(MESSAGE, data="\ud800"))


def test_a_rule_messages_fields_are_the_schemas_in_order() -> None:
    """The decoder makes a message of the record's values by position."""
    schema = registered_schemas()[newest_id("RuleMessage")].parsed
    fields = [field.name for field in dataclasses.fields(RuleMessage)]
    assert [field["name"] for field in schema["fields"]] == fields[:-1]
    assert fields[-1] == "_json"


class TestWireFormat:
    @pytest.mark.parametrize("id_", registered_schemas())
    def test_zero_then_the_schema_id_then_the_record(self, id_: int) -> None:
        """https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop"""
        subject = registered_schemas()[id_].subject
        assert codec(subject).prefix == bytes((0, 0, 0, 0, id_))
        assert schema_id_of(codec(subject).prefix + b"anything") == id_

    @pytest.mark.parametrize("data", [b"", b"\0\0\0\1", b"\1\0\0\0\1rest", b"{}"])
    def test_bytes_without_a_schema_id_have_none(self, data: bytes) -> None:
        with pytest.raises(Undecodable, match="no schema id"):
            schema_id_of(data)


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


class TestBadBytes:
    @pytest.mark.parametrize("decoder", DECODERS)
    def test_an_empty_value_is_undecodable(self, decoder: str) -> None:
        for data in (None, b""):
            with pytest.raises(Undecodable):
                DECODERS[decoder](data)

    @pytest.mark.parametrize("decoder", DECODERS)
    def test_a_schema_id_that_nobody_gave_says_what_to_do(self, decoder: str) -> None:
        with pytest.raises(UnknownSchema, match="schema id 999 is not known here: upgrade"):
            DECODERS[decoder](b"\0" + (999).to_bytes(4, "big") + b"whatever")

    @pytest.mark.parametrize("subject", TYPED)
    def test_a_record_of_another_subject_is_named(self, subject: str) -> None:
        for other, data in ENCODED.items():
            if other == subject:
                continue
            with pytest.raises(Undecodable, match=f"a {other} .* in a topic of {subject}") as found:
                TYPED[subject](data)
            assert not isinstance(found.value, UnknownSchema)

    @pytest.mark.parametrize("subject", TYPED)
    def test_a_truncated_record_is_undecodable_wherever_it_is_cut(self, subject: str) -> None:
        data = ENCODED[subject]
        TYPED[subject](data)
        for length in range(len(data)):
            with pytest.raises(Undecodable):
                TYPED[subject](data[:length])

    @pytest.mark.parametrize("subject", TYPED)
    def test_bytes_after_the_record_are_undecodable(self, subject: str) -> None:
        with pytest.raises(Undecodable, match=f"2 bytes after the end of a {subject}"):
            TYPED[subject](ENCODED[subject] + b"\0\0")

    @pytest.mark.parametrize("decoder", DECODERS)
    @given(garbage=st.binary(max_size=200))
    def test_garbage_is_undecodable_or_a_record_and_nothing_else(
        self, decoder: str, garbage: bytes
    ) -> None:
        for subject in SUBJECTS:
            for data in (garbage, _prefix(subject) + garbage):
                with contextlib.suppress(Undecodable):
                    DECODERS[decoder](data)

    @pytest.mark.parametrize("subject", TYPED)
    def test_a_damaged_record_is_undecodable_or_a_record_and_nothing_else(
        self, subject: str
    ) -> None:
        damage = random.Random(20_000)
        for _ in range(3_000):
            data = bytearray(ENCODED[subject])
            for _ in range(damage.randint(1, 3)):
                data[damage.randrange(5, len(data))] = damage.randrange(256)
            with contextlib.suppress(Undecodable):
                TYPED[subject](bytes(data))

    def test_lengths_beyond_the_end_take_no_memory(self) -> None:
        """A text of 2^60 bytes, and arrays of as many items."""
        huge = avro_bytes("RuleMessage", {**_message_record(MESSAGE), "ts": 2**60})
        start = huge.index(b"\x80\x80")
        varint = huge[start : start + 9]
        assert varint[-1] < 0x80
        for body in (varint, b"\2x" * 2 + b"\0\0" + varint):
            with pytest.raises(Undecodable):
                decode_message(_prefix("RuleMessage") + body)

    def test_a_key_without_a_value_is_undecodable(self) -> None:
        record = _event_record(dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": 1})]))
        record["timeseries"]["points"][0]["values"][0]["long_v"] = None
        with pytest.raises(Undecodable, match="key 'k' has no value"):
            decode_cloud_event(codec("CloudEvent").encode(record))

    def test_a_json_value_that_is_no_json_is_undecodable(self) -> None:
        record = _event_record(dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": [1]})]))
        record["timeseries"]["points"][0]["values"][0]["json_v"] = "{"
        with pytest.raises(Undecodable, match="not a CloudEvent"):
            decode_cloud_event(codec("CloudEvent").encode(record))

    def test_an_unknown_scope_is_undecodable(self) -> None:
        keys = {"scope": "NO_SCOPE", "keys": [], "versions": {}}
        record = {**_event_record(EVENT), "attribute_keys": keys}
        with pytest.raises(Undecodable, match="NO_SCOPE"):
            decode_cloud_event(codec("CloudEvent").encode(record))
        edge_record = {**record, "edge_id": "", "uid": ""}
        with pytest.raises(Undecodable, match="NO_SCOPE"):
            decode_edge_event(codec("EdgeEvent").encode(edge_record))


class TestOlderVersions:
    """A registry in which RuleMessage and KvEntry have got a second version."""

    @pytest.fixture
    def second_versions(self, monkeypatch: pytest.MonkeyPatch) -> dict[int, RegisteredSchema]:
        registry = dict(registered_schemas())
        for id_, subject, new in (
            (101, "RuleMessage", {"name": "priority", "type": "long", "default": 7}),
            (102, "KvEntry", {"name": "unit", "type": ["null", "string"], "default": None}),
        ):
            schema = registered_schemas()[newest_id(subject)].parsed
            schema["fields"].append(new)
            registry[id_] = RegisteredSchema(id_, subject, 2, json.dumps(schema))
        monkeypatch.setattr(codec_module, "registered_schemas", lambda: registry)
        newest = {"RuleMessage": 101, "KvEntry": 102}
        monkeypatch.setattr(codec_module, "newest_id", lambda s: newest.get(s) or newest_id(s))
        return registry

    def test_a_record_of_the_first_version_gets_the_new_fields_default(
        self, second_versions: dict[int, RegisteredSchema]
    ) -> None:
        newer = RecordCodec("RuleMessage")
        record = newer.decode(ENCODED["RuleMessage"])
        assert record == {**_message_record(MESSAGE), "priority": 7}
        assert [*record] == [field["name"] for field in second_versions[101].parsed["fields"]]
        kv = codec("KvEntry").encode({"key": "k", "str_v": "x"})
        assert RecordCodec("KvEntry").decode(kv)["unit"] is None

    def test_writers_use_the_second_version_and_readers_read_it(
        self, second_versions: dict[int, RegisteredSchema]
    ) -> None:
        newer = RecordCodec("RuleMessage")
        record = {**_message_record(MESSAGE), "priority": 1}
        data = newer.encode(record)
        assert schema_id_of(data) == 101
        assert newer.decode(data) == record

    def test_a_truncated_record_of_the_first_version_is_undecodable(
        self, second_versions: dict[int, RegisteredSchema]
    ) -> None:
        newer = RecordCodec("RuleMessage")
        with pytest.raises(Undecodable):
            newer.decode(ENCODED["RuleMessage"][:-1])
        with pytest.raises(Undecodable, match="after the end"):
            newer.decode(ENCODED["RuleMessage"] + b"\0")

    def test_a_site_that_knows_the_first_version_alone_refuses_the_second(self) -> None:
        second = b"\0" + (101).to_bytes(4, "big") + ENCODED["RuleMessage"][5:]
        with pytest.raises(UnknownSchema, match="101"):
            decode_message(second)
