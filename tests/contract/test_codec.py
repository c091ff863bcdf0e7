"""The codec against the ``avro`` package: the same bytes, the same values, both ways."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Undecodable
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
    schema_id_of,
)
from edgeferry.log.schemas import newest_id, registered_schemas
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
from tests.contract.codec_samples import (
    EVENT,
    LETTER,
    MESSAGE,
    SUBJECTS,
    event_record,
    message_record,
    prefix,
)


class TestAgainstAvro:
    @pytest.mark.parametrize("subject", SUBJECTS)
    @given(data=st.data())
    def test_every_record_is_the_same_both_ways(self, subject: str, data: st.DataObject) -> None:
        schema = registered_schemas()[newest_id(subject)].parsed
        record = data.draw(values_of(schema))
        encoded = codec(subject).encode(record)
        assert encoded == prefix(subject) + avro_bytes(subject, record)
        assert codec(subject).decode(encoded) == record
        assert avro_record(subject, encoded[5:]) == record

    @given(rule_messages)
    def test_messages(self, message: RuleMessage) -> None:
        record = message_record(message)
        encoded = encode_message(message)
        assert encoded == prefix("RuleMessage") + avro_bytes("RuleMessage", record)
        assert encoded == codec("RuleMessage").encode(record)
        assert decode_message(encoded) == message

    @given(cloud_events)
    def test_cloud_events(self, event: CloudEvent) -> None:
        record = event_record(event)
        encoded = encode_cloud_event(event)
        assert encoded == prefix("CloudEvent") + avro_bytes("CloudEvent", record)
        assert encoded == codec("CloudEvent").encode(record)
        assert decode_cloud_event(encoded) == event

    @given(edge_events)
    def test_edge_events(self, event: EdgeEvent) -> None:
        record = {"edge_id": event.edge_id, "uid": event.uid, **event_record(event.event)}
        encoded = encode_edge_event(event)
        assert encoded == prefix("EdgeEvent") + avro_bytes("EdgeEvent", record)
        assert encoded == codec("EdgeEvent").encode(record)
        assert decode_edge_event(encoded) == event

    @pytest.mark.parametrize("letter", [LETTER, LETTER._replace(key=None, value=None, headers=())])
    def test_dead_letters(self, letter: DeadLetter) -> None:
        headers = [{"name": name, "value": value} for name, value in letter.headers]
        record = {**letter._asdict(), "headers": headers}
        encoded = encode_dead_letter(letter)
        assert encoded == prefix("DeadLetter") + avro_bytes("DeadLetter", record)
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
            record = message_record(message)
            assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
            assert decode_message(encode_message(message)) == message

    @pytest.mark.parametrize("count", [0, 1, 63, 64, 300, 9000])
    def test_collections_of_every_size(self, count: int) -> None:
        names = [f"name-{i}" for i in range(count)]
        message = dataclasses.replace(MESSAGE, stack=names, metadata=dict.fromkeys(names, "v"))
        record = message_record(message)
        assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
        values: dict[str, Value] = dict.fromkeys(names, 1)
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(i, values) for i in range(3)])
        assert encode_cloud_event(event)[5:] == avro_bytes("CloudEvent", event_record(event))

    @pytest.mark.parametrize("exponent", range(64))
    def test_longs_of_every_size(self, exponent: int) -> None:
        for near in (2**exponent - 1, 2**exponent, -(2**exponent), -(2**exponent) - 1):
            number = min(max(near, LONG_MIN), LONG_MAX)
            message = dataclasses.replace(MESSAGE, ts=number, stamp=number)
            record = message_record(message)
            assert encode_message(message)[5:] == avro_bytes("RuleMessage", record)
            assert decode_message(encode_message(message)) == message

    def test_not_a_number_and_infinity_pass_as_doubles(self) -> None:
        values: dict[str, Value] = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-0": -0.0}
        event = dataclasses.replace(EVENT, timeseries=[TsPoint(1, values)])
        encoded = encode_cloud_event(event)
        assert encoded[5:] == avro_bytes("CloudEvent", event_record(event))
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
