"""What the codec does with bytes that are not what the topic's schema says."""

import contextlib
import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.core.kv import TsPoint
from edgeferry.log.codec import (
    codec,
    decode_cloud_event,
    decode_edge_event,
    decode_message,
)
from tests.contract.avro_records import (
    avro_bytes,
)
from tests.contract.codec_samples import (
    DECODERS,
    ENCODED,
    EVENT,
    MESSAGE,
    SUBJECTS,
    TYPED,
    event_record,
    message_record,
    prefix,
)


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
            for data in (garbage, prefix(subject) + garbage):
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
        huge = avro_bytes("RuleMessage", {**message_record(MESSAGE), "ts": 2**60})
        start = huge.index(b"\x80\x80")
        varint = huge[start : start + 9]
        assert varint[-1] < 0x80
        for body in (varint, b"\2x" * 2 + b"\0\0" + varint):
            with pytest.raises(Undecodable):
                decode_message(prefix("RuleMessage") + body)

    def test_a_key_without_a_value_is_undecodable(self) -> None:
        record = event_record(dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": 1})]))
        record["timeseries"]["points"][0]["values"][0]["long_v"] = None
        with pytest.raises(Undecodable, match="key 'k' has no value"):
            decode_cloud_event(codec("CloudEvent").encode(record))

    def test_a_json_value_that_is_no_json_is_undecodable(self) -> None:
        record = event_record(dataclasses.replace(EVENT, timeseries=[TsPoint(1, {"k": [1]})]))
        record["timeseries"]["points"][0]["values"][0]["json_v"] = "{"
        with pytest.raises(Undecodable, match="not a CloudEvent"):
            decode_cloud_event(codec("CloudEvent").encode(record))

    def test_an_unknown_scope_is_undecodable(self) -> None:
        keys = {"scope": "NO_SCOPE", "keys": [], "versions": {}}
        record = {**event_record(EVENT), "attribute_keys": keys}
        with pytest.raises(Undecodable, match="NO_SCOPE"):
            decode_cloud_event(codec("CloudEvent").encode(record))
        edge_record = {**record, "edge_id": "", "uid": ""}
        with pytest.raises(Undecodable, match="NO_SCOPE"):
            decode_edge_event(codec("EdgeEvent").encode(edge_record))
