"""Avro codec in the Confluent wire format: 0, 4-byte schema id, Avro binary.

fastavro reads and writes; what is written for each message goes through ``encoding``.
``avro`` is the referee in tests: all read and write the same bytes. No numeric unions
(the two choose different branches): nullable fields side by side, exactly one set.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from io import BytesIO
from typing import Any

import fastavro
import orjson

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent, EdgeEvent
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.log.encoding import encode_event, encode_for_edge, encode_rule_message
from edgeferry.log.schemas import newest_id, registered_schemas

_PREFIX = struct.Struct(">bI")
_VALUE_FIELDS = ("bool_v", "long_v", "dbl_v", "str_v")

AvroRecord = dict[str, Any]


class RecordCodec:
    """Bytes to and from the plain dictionary of one record type.

    Reading resolves any registered version of the subject to the newest; the resolved
    schema pair is found once per id.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        id_ = newest_id(subject)
        self.prefix = _PREFIX.pack(0, id_)
        self._newest = fastavro.parse_schema(registered_schemas()[id_].parsed)
        self._writers: dict[bytes, Any] = {self.prefix: self._newest}

    def encode(self, record: Mapping[str, Any]) -> bytes:
        out = BytesIO()
        out.write(self.prefix)
        fastavro.schemaless_writer(out, self._newest, record)
        return out.getvalue()

    def decode(self, data: bytes | None) -> AvroRecord:
        """Raises Undecodable, UnknownSchema."""
        if data is None:
            raise Undecodable(f"empty value where a {self.subject} should be")
        prefix = data[:5]
        if prefix == self.prefix:
            reader = None
            writer = self._newest
        else:
            reader = self._newest
            writer = self._writer(prefix)
        source = BytesIO(data)
        source.seek(5)
        try:
            record = fastavro.schemaless_reader(source, writer, reader)
        except Exception as error:  # fastavro raises whatever the bytes led it to
            raise Undecodable(f"not a {self.subject}: {type(error).__name__}: {error}") from error
        if source.tell() != len(data):
            raise Undecodable(
                f"{len(data) - source.tell()} bytes after the end of a {self.subject}"
            )
        return record  # type: ignore[return-value]

    def _writer(self, prefix: bytes) -> Any:
        found = self._writers.get(prefix)
        if found is not None:
            return found
        if len(prefix) < 5 or prefix[0] != 0:
            raise Undecodable(
                f"no schema id at the start of a {self.subject}: the first byte must be 0, "
                f"then 4 bytes of schema id"
            )
        id_ = _PREFIX.unpack(prefix)[1]
        schema = registered_schemas().get(id_)
        if schema is None:
            raise UnknownSchema(f"schema id {id_} is not known here: upgrade this site first")
        if schema.subject != self.subject:
            raise Undecodable(f"a {schema.subject} (schema id {id_}) in a topic of {self.subject}")
        found = self._writers[prefix] = fastavro.parse_schema(schema.parsed)
        return found


@cache
def codec(subject: str) -> RecordCodec:
    return RecordCodec(subject)


def schema_id_of(data: bytes) -> int:
    """The schema id in a value's first bytes. Raises Undecodable."""
    if len(data) < 5 or data[0] != 0:
        raise Undecodable("no schema id at the start of the value")
    return int(_PREFIX.unpack_from(data)[1])


def encode_message(message: RuleMessage) -> bytes:
    """See ``encoding`` for what it raises."""
    return encode_rule_message(codec("RuleMessage").prefix, message)


def decode_message(data: bytes | None) -> RuleMessage:
    """Raises Undecodable, UnknownSchema."""
    # the record's fields stand in the order of the schema, which is RuleMessage's own
    return RuleMessage(*codec("RuleMessage").decode(data).values())


def kv_value(entry: Mapping[str, Any]) -> Value:
    """The one value of a KvEntry. Raises Undecodable when none is set."""
    for name in _VALUE_FIELDS:
        value: Value | None = entry[name]
        if value is not None:
            return value
    if entry["json_v"] is None:
        raise Undecodable(f"key {entry['key']!r} has no value")
    parsed: Value = orjson.loads(entry["json_v"])
    return parsed


def _values(entries: Iterable[Mapping[str, Any]]) -> dict[str, Value]:
    return {entry["key"]: kv_value(entry) for entry in entries}


def _event(record: AvroRecord) -> CloudEvent:
    timeseries, attributes, keys = (
        record.pop("timeseries"),
        record.pop("attributes"),
        record.pop("attribute_keys"),
    )
    return CloudEvent(
        **record,
        timeseries=timeseries
        and [TsPoint(point["ts"], _values(point["values"])) for point in timeseries["points"]],
        attributes=attributes
        and AttributesBody(
            scope=Scope(attributes["scope"]),
            ts=attributes["ts"],
            values=_values(attributes["values"]),
            versions=attributes["versions"],
        ),
        attribute_keys=keys
        and AttributeKeysBody(
            scope=Scope(keys["scope"]), keys=keys["keys"], versions=keys["versions"]
        ),
    )


def encode_cloud_event(event: CloudEvent) -> bytes:
    """See ``encoding`` for what it raises."""
    return encode_event(codec("CloudEvent").prefix, event)


def decode_cloud_event(data: bytes | None) -> CloudEvent:
    """Raises Undecodable, UnknownSchema."""
    record = codec("CloudEvent").decode(data)
    try:
        return _event(record)
    except ValueError as error:
        raise Undecodable(f"not a CloudEvent: {error}") from error


def encode_edge_event(event: EdgeEvent) -> bytes:
    """See ``encoding`` for what it raises."""
    return encode_for_edge(codec("EdgeEvent").prefix, event)


def decode_edge_event(data: bytes | None) -> EdgeEvent:
    """Raises Undecodable, UnknownSchema."""
    record = codec("EdgeEvent").decode(data)
    edge_id, uid = record.pop("edge_id"), record.pop("uid")
    try:
        return EdgeEvent(edge_id=edge_id, uid=uid, event=_event(record))
    except ValueError as error:
        raise Undecodable(f"not an EdgeEvent: {error}") from error


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """Never fails for what a record holds: headers that no schema can carry are left out,
    and an error's text is made fit."""
    headers: Sequence[AvroRecord] = [{"name": n, "value": v} for n, v in letter.headers]
    text = letter.error_text.encode(errors="backslashreplace").decode()
    record = {**letter._asdict(), "error_text": text, "headers": headers}
    try:
        return codec("DeadLetter").encode(record)
    except Exception:  # fastavro raises whatever a value leads it to
        text += " (its headers cannot be kept)"
        return codec("DeadLetter").encode({**record, "error_text": text, "headers": []})


def decode_dead_letter(data: bytes | None) -> DeadLetter:
    """Raises Undecodable, UnknownSchema."""
    record = codec("DeadLetter").decode(data)
    headers = tuple((h["name"], h["value"]) for h in record.pop("headers"))
    return DeadLetter(**record, headers=headers)
