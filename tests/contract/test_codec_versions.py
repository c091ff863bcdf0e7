"""Records of older versions of a schema, and of newer ones."""

import json

import pytest

from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.log import codec as codec_module
from edgeferry.log.codec import (
    RecordCodec,
    codec,
    decode_message,
    schema_id_of,
)
from edgeferry.log.schemas import RegisteredSchema, newest_id, registered_schemas
from tests.contract.codec_samples import ENCODED, MESSAGE, message_record


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
        assert record == {**message_record(MESSAGE), "priority": 7}
        assert [*record] == [field["name"] for field in second_versions[101].parsed["fields"]]
        kv = codec("KvEntry").encode({"key": "k", "str_v": "x"})
        assert RecordCodec("KvEntry").decode(kv)["unit"] is None

    def test_writers_use_the_second_version_and_readers_read_it(
        self, second_versions: dict[int, RegisteredSchema]
    ) -> None:
        newer = RecordCodec("RuleMessage")
        record = {**message_record(MESSAGE), "priority": 1}
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
