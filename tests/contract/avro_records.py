"""Values of any Avro schema, and the ``avro`` package as referee of what they look like."""

from io import BytesIO
from typing import Any

import avro.io
import avro.schema
from hypothesis import strategies as st

from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent, EdgeEvent
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.log.schemas import newest_id, registered_schemas

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1

Json = Any

_longs = st.one_of(
    st.integers(LONG_MIN, LONG_MAX),
    st.sampled_from([LONG_MIN, LONG_MAX, 0, -1, 63, 64, -64, -65, 8191, 8192, 2**27, 2**55]),
)
_texts = st.text(max_size=80)


def avro_bytes(subject: str, record: Json) -> bytes:
    """The record in Avro binary as the ``avro`` package writes it, without schema id."""
    out = BytesIO()
    avro.io.DatumWriter(_schema(subject)).write(record, avro.io.BinaryEncoder(out))
    return out.getvalue()


def avro_record(subject: str, body: bytes) -> Json:
    """The record as the ``avro`` package reads it."""
    source = BytesIO(body)
    schema = _schema(subject)
    record = avro.io.DatumReader(schema, schema).read(avro.io.BinaryDecoder(source))
    assert source.tell() == len(body)
    return record


def _schema(subject: str) -> avro.schema.Schema:
    return avro.schema.parse(registered_schemas()[newest_id(subject)].text)


def values_of(schema: Json, named: dict[str, Json] | None = None) -> st.SearchStrategy[Any]:
    """Values of a parsed Avro schema: every branch of unions, empty and filled collections."""
    named = {} if named is None else named
    match schema:
        case list():
            return st.one_of([values_of(branch, named) for branch in schema])
        case {"type": "record", "name": name, "fields": fields}:
            named[name] = schema
            return st.fixed_dictionaries(
                {field["name"]: values_of(field["type"], named) for field in fields}
            )
        case {"type": "array", "items": items}:
            return st.lists(values_of(items, named), max_size=4)
        case {"type": "map", "values": values}:
            return st.dictionaries(_texts, values_of(values, named), max_size=4)
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return _longs
        case "double":
            return st.floats(allow_nan=False)
        case "string":
            return _texts
        case "bytes":
            return st.binary(max_size=80)
        case str() if schema in named:
            return values_of(named[schema], named)
    raise AssertionError(f"an Avro type that our schemas do not use: {schema}")


_json_leaves = st.none() | st.booleans() | _longs | st.floats(allow_nan=False, allow_infinity=False)
_json: st.SearchStrategy[Any] = st.recursive(
    _json_leaves | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)
kv_values: st.SearchStrategy[Value] = st.one_of(
    st.booleans(),
    _longs,
    st.floats(allow_nan=False),
    _texts,
    st.lists(_json, max_size=3),
    st.dictionaries(_texts, _json, max_size=3),
)
"""Every type of value that a key can have."""

_kvs = st.dictionaries(_texts, kv_values, max_size=6)
_versions = st.dictionaries(_texts, _longs, max_size=3)

rule_messages = st.builds(
    RuleMessage,
    id=_texts,
    tenant_id=_texts,
    ts=_longs,
    stamp=_longs,
    stack=st.lists(_texts, max_size=3),
    type=_texts,
    entity_type=_texts,
    entity_id=_texts,
    metadata=st.dictionaries(_texts, _texts, max_size=5),
    data_type=_texts,
    data=_texts,
)

cloud_events = st.builds(
    CloudEvent,
    id=_texts,
    created_time=_longs,
    stamp=_longs,
    tenant_id=_texts,
    action=_texts,
    type=_texts,
    entity_type=_texts,
    entity_id=_texts,
    entity_name=_texts,
    entity_profile=_texts,
    timeseries=st.none() | st.lists(st.builds(TsPoint, _longs, _kvs), max_size=3),
    attributes=st.none()
    | st.builds(AttributesBody, st.sampled_from(Scope), _longs, _kvs, _versions),
    attribute_keys=st.none()
    | st.builds(AttributeKeysBody, st.sampled_from(Scope), st.lists(_texts, max_size=3), _versions),
    rpc=st.none() | _texts,
    alarm=st.none() | _texts,
    entity=st.none() | _texts,
)

edge_events = st.builds(EdgeEvent, edge_id=_texts, uid=_texts, event=cloud_events)
