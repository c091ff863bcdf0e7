"""The schemas, their ids and the catalogue of topics: what other programs rely on.

The rules of change are in ``schemas/README.md``; each rule is a function here that is also
shown something that breaks it.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import avro.schema
import pytest
import yaml
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from edgeferry.log.schemas import RegisteredSchema, newest_id, registered_schemas
from edgeferry.log.topics import catalogue, chain_topics, site_topics

SCHEMAS = Path(__file__).parents[2] / "schemas"

RELEASED = {
    1: ("RuleMessage", 1, "0e1826140d56cba5"),
    2: ("CloudEvent", 1, "01d9a5a7c3150c5f"),
    3: ("EdgeEvent", 1, "6bbf4a7bbeac8796"),
    4: ("AttributeChange", 1, "1407012ea438878f"),
    5: ("DeadLetter", 1, "5a5e83fb15fd799f"),
    6: ("KvEntry", 1, "9ca0a41e603119ec"),
    7: ("EntityChange", 1, "e15099ce36075f27"),
    8: ("RpcChange", 1, "495c8343f9665683"),
}
"""Every id ever given, and the digest of its schema. Lines are added, never changed."""

NUMBERS = {"int", "long", "float", "double"}
VALUE_FIELDS = {
    "bool_v": "boolean",
    "long_v": "long",
    "dbl_v": "double",
    "str_v": "string",
    "json_v": "string",
}
BODIES = ("timeseries", "attributes", "attribute_keys", "rpc", "alarm", "entity")

Json = Any


def digest(schema: Json) -> str:
    """Of everything that decides how bytes are read: all but ``doc``."""
    text = json.dumps(_without_doc(schema), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_doc(schema: Json) -> Json:
    match schema:
        case dict():
            return {name: _without_doc(part) for name, part in schema.items() if name != "doc"}
        case list():
            return [_without_doc(part) for part in schema]
    return schema


def incompatibilities(older: str, newer: str) -> list[str]:
    """Why one of two schemas cannot read what the other wrote; empty: FULL compatible."""
    a, b = avro.schema.parse(older), avro.schema.parse(newer)
    problems = []
    for reader, writer, what in ((b, a, "newer reads older"), (a, b, "older reads newer")):
        checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
        result = checker.get_compatibility(reader, writer)
        if result.compatibility is not SchemaCompatibilityType.compatible:
            problems += [f"{what}: {message}" for message in result.messages]
    return problems


def misplaced_fields(older: Json, newer: Json) -> list[str]:
    """Fields of a record that did not keep their place: the codec goes by position."""
    old, new = _records(older), _records(newer)
    return [
        f"{name}: fields are only added, at the end"
        for name, fields in old.items()
        if name in new and new[name][: len(fields)] != fields
    ]


def _records(schema: Json) -> dict[str, list[str]]:
    return {
        part["name"]: [field["name"] for field in part["fields"]]
        for part in _parts(schema)
        if isinstance(part, dict) and part.get("type") == "record"
    }


def _parts(schema: Json) -> Iterator[Json]:
    """Every schema within a schema, itself included."""
    yield schema
    match schema:
        case list():
            for branch in schema:
                yield from _parts(branch)
        case {"type": "record", "fields": fields}:
            for field in fields:
                yield from _parts(field["type"])
        case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
            yield from _parts(inner)


def odd_unions(schema: Json) -> list[str]:
    """Unions that are not ``[null, T]``: two numbers in one are read differently by
    fastavro and avro, and two records want names in the bytes of other languages."""
    return [
        json.dumps(part)
        for part in _parts(schema)
        if isinstance(part, list) and (len(part) != 2 or part[0] != "null" or part[1] == "null")
    ]


def _versions() -> Mapping[str, Sequence[RegisteredSchema]]:
    found: dict[str, list[RegisteredSchema]] = defaultdict(list)
    for schema in registered_schemas().values():
        found[schema.subject].append(schema)
    return {subject: sorted(rows, key=lambda row: row.version) for subject, rows in found.items()}


def _schema(subject: str) -> Json:
    return registered_schemas()[newest_id(subject)].parsed


class _NoRepeats(yaml.SafeLoader):
    """Refuses a mapping that has a key twice; YAML itself takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise ValueError(f"more than once: {repeated}")
        return super().construct_mapping(node, deep)


class TestIds:
    def test_no_id_is_given_twice(self) -> None:
        yaml.load((SCHEMAS / "ids.yaml").read_text(), _NoRepeats)
        with pytest.raises(ValueError, match="more than once"):
            yaml.load("1: {subject: A}\n1: {subject: B}", _NoRepeats)

    def test_an_id_that_was_given_means_the_same_for_ever(self) -> None:
        given = {
            id_: (schema.subject, schema.version, digest(schema.parsed))
            for id_, schema in registered_schemas().items()
        }
        assert given == RELEASED, "a schema that changes gets a new file, id and version"

    def test_a_change_of_a_default_changes_the_digest_and_one_of_a_doc_does_not(self) -> None:
        schema = _schema("EdgeEvent")
        before = digest(schema)
        schema["doc"] = schema["fields"][2]["doc"] = "other words"
        assert digest(schema) == before
        del schema["fields"][1]["default"]
        assert digest(schema) != before

    def test_every_file_is_registered_and_every_registered_file_is_there(self) -> None:
        rows = yaml.safe_load((SCHEMAS / "ids.yaml").read_text())
        registered = [row["file"] for row in rows.values()]
        assert sorted(registered) == sorted(file.name for file in SCHEMAS.glob("*.avsc"))

    def test_ids_fit_the_wire_format(self) -> None:
        assert all(0 < id_ < 2**31 for id_ in registered_schemas())

    @pytest.mark.parametrize("subject", _versions())
    def test_versions_count_from_one_and_ids_rise_with_them(self, subject: str) -> None:
        rows = _versions()[subject]
        assert [row.version for row in rows] == list(range(1, len(rows) + 1))
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        assert newest_id(subject) == rows[-1].id

    @pytest.mark.parametrize("id_", registered_schemas())
    def test_a_schema_is_valid_and_named_after_its_subject(self, id_: int) -> None:
        row = registered_schemas()[id_]
        avro.schema.parse(row.text)
        assert (row.parsed["namespace"], row.parsed["name"]) == ("edgeferry", row.subject)


class TestChange:
    @pytest.mark.parametrize("subject", _versions())
    def test_every_version_reads_and_is_read_by_every_other(self, subject: str) -> None:
        rows = _versions()[subject]
        for index, older in enumerate(rows):
            for newer in rows[index:]:
                assert incompatibilities(older.text, newer.text) == []
                assert misplaced_fields(older.parsed, newer.parsed) == []

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"name": "n", "type": "long"}, "newer reads older"),
            ({"name": "id", "type": "long"}, "older reads newer"),
            (None, "older reads newer"),
        ],
        ids=["added without a default", "another type", "removed without a default"],
    )
    def test_an_incompatible_second_version_is_noticed(
        self, change: Json | None, problem: str
    ) -> None:
        first = _schema("RuleMessage")
        second = _schema("RuleMessage")
        second["fields"] = [
            field
            for field in second["fields"]
            if field["name"] != (change["name"] if change else "id")
        ]
        if change is not None:
            second["fields"].append(change)
        found = incompatibilities(json.dumps(first), json.dumps(second))
        assert any(text.startswith(problem) for text in found), found

    def test_a_field_added_at_the_end_with_a_default_is_allowed(self) -> None:
        first, second = _schema("RuleMessage"), _schema("RuleMessage")
        second["fields"].append({"name": "n", "type": "long", "default": 0})
        assert incompatibilities(json.dumps(first), json.dumps(second)) == []
        assert misplaced_fields(first, second) == []

    @pytest.mark.parametrize("place", [0, 3])
    def test_a_field_added_elsewhere_is_noticed(self, place: int) -> None:
        first, second = _schema("RuleMessage"), _schema("RuleMessage")
        second["fields"].insert(place, {"name": "n", "type": "long", "default": 0})
        assert misplaced_fields(first, second) == ["RuleMessage: fields are only added, at the end"]

    def test_a_field_added_elsewhere_in_a_record_within_is_noticed(self) -> None:
        first, second = _schema("CloudEvent"), _schema("CloudEvent")
        entry = next(
            part
            for part in _parts(second)
            if isinstance(part, dict) and part.get("name") == "KvEntry"
        )
        entry["fields"].insert(1, {"name": "n", "type": "long", "default": 0})
        assert misplaced_fields(first, second) == ["KvEntry: fields are only added, at the end"]


class TestShapes:
    @pytest.mark.parametrize("id_", registered_schemas())
    def test_every_union_is_a_field_that_may_be_null(self, id_: int) -> None:
        assert odd_unions(registered_schemas()[id_].parsed) == []

    @pytest.mark.parametrize(
        "union",
        [
            ["int", "long"],
            ["null", "long", "double"],
            ["long", "null"],
            [{"type": "record", "name": "A", "fields": []}, "null"],
        ],
    )
    def test_other_unions_are_noticed_wherever_they_stand(self, union: Json) -> None:
        inner = {"type": "array", "items": {"type": "map", "values": union}}
        schema = {"type": "record", "name": "R", "fields": [{"name": "f", "type": inner}]}
        assert odd_unions(schema) == [json.dumps(union)]

    @pytest.mark.parametrize("id_", registered_schemas())
    def test_every_nullable_field_is_null_by_default(self, id_: int) -> None:
        for part in _parts(registered_schemas()[id_].parsed):
            if isinstance(part, dict) and part.get("type") == "record":
                for field in part["fields"]:
                    assert not isinstance(field["type"], list) or field["default"] is None

    def test_a_value_stands_in_one_of_five_fields(self) -> None:
        key, *values = _schema("KvEntry")["fields"]
        assert key == {"name": "key", "type": "string"}
        assert values == [
            {"name": name, "type": ["null", type_], "default": None}
            for name, type_ in VALUE_FIELDS.items()
        ]

    @pytest.mark.parametrize("subject", ["CloudEvent", "EdgeEvent"])
    def test_the_bodies_of_an_event_are_nullable_side_by_side_at_its_end(
        self, subject: str
    ) -> None:
        fields = _schema(subject)["fields"]
        assert tuple(field["name"] for field in fields[-6:]) == BODIES
        assert all(field["type"][0] == "null" for field in fields[-6:])

    def test_an_edge_event_is_a_cloud_event_with_its_edge(self) -> None:
        edge_id, uid, *rest = _schema("EdgeEvent")["fields"]
        assert (edge_id["name"], uid["name"]) == ("edge_id", "uid")
        assert rest == _schema("CloudEvent")["fields"]

    def test_a_record_within_records_is_the_same_everywhere(self) -> None:
        found: dict[str, str] = {}
        for subject in _versions():
            for part in _parts(_schema(subject)):
                if isinstance(part, dict) and part.get("type") == "record":
                    text = digest({**part, "namespace": "edgeferry"})
                    assert found.setdefault(part["name"], text) == text, part["name"]


class TestTopics:
    def test_the_catalogue_has_the_topics_that_others_know(self) -> None:
        rows = {
            (topic.name, topic.value, topic.partitions, topic.retention_ms)
            for topic in site_topics("cloud", "cloud")
        }
        day = 86_400_000
        assert rows == {
            ("cloud.cloud-events", "CloudEvent", 12, None),
            ("cloud.cloud-events-ts", "CloudEvent", 12, None),
            ("cloud.edge-events", "EdgeEvent", 12, None),
            ("cloud.edge-events-ts", "EdgeEvent", 12, None),
            ("cloud.attribute-changes", "AttributeChange", 12, None),
            ("cloud.device-commands", "RuleMessage", 12, day),
            ("cloud.dead-letters", "DeadLetter", 3, 90 * day),
        }

    def test_each_lane_has_one_partition_at_an_edge(self) -> None:
        counts = {topic.name: topic.partitions for topic in site_topics("edge.berlin", "edge")}
        assert {name: n for name, n in counts.items() if "events" in name} == {
            "edge.berlin.cloud-events": 1,
            "edge.berlin.cloud-events-ts": 1,
            "edge.berlin.edge-events": 1,
            "edge.berlin.edge-events-ts": 1,
        }

    def test_topics_of_chains_carry_rule_messages_in_twelve_partitions(self) -> None:
        (topic,) = chain_topics(["edge.root"])
        assert (topic.value, topic.partitions, topic.retention_ms) == ("RuleMessage", 12, None)
        assert chain_topics(["edge.root"], partitions=3)[0].partitions == 3

    def test_every_value_is_a_subject(self) -> None:
        rows = [catalogue()["chains"], *catalogue()["topics"].values()]
        assert {row["value"] for row in rows} <= _versions().keys()

    def test_every_topic_says_what_it_is_for(self) -> None:
        assert all(row["doc"].endswith(".") for row in catalogue()["topics"].values())
