"""Changes (``core.changes``) in the topic ``attribute-changes``, told apart by schema id."""

from typing import Any

import orjson

from edgeferry.core.changes import (
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    RpcChange,
    RpcStatus,
)
from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.core.kv import Scope, Value
from edgeferry.log.codec import codec, kv_value, schema_id_of
from edgeferry.log.schemas import registered_schemas

_EMPTY_ENTRY = {"bool_v": None, "long_v": None, "dbl_v": None, "str_v": None, "json_v": None}


def encode_change(change: Change) -> bytes:
    """One of the three records of the topic."""
    if isinstance(change, AttributeChange):
        return codec("AttributeChange").encode(
            {
                "id": change.id,
                "tenant_id": change.tenant_id,
                "entity_type": change.entity_type,
                "entity_id": change.entity_id,
                "scope": change.scope,
                "upserts": [
                    {"entry": _entry(key, value), "version": change.versions.get(key, 0)}
                    for key, value in change.upserts.items()
                ],
                "deletes": [
                    {"key": key, "version": change.versions.get(key, 0)} for key in change.deletes
                ],
                "origin": change.origin,
                "created_time": change.created_time,
            }
        )
    subject = "EntityChange" if isinstance(change, EntityChange) else "RpcChange"
    return codec(subject).encode(
        {name: getattr(change, name) for name in change.__dataclass_fields__}
    )


def decode_change(data: bytes | None) -> Change:
    """Raises Undecodable, UnknownSchema."""
    if data is None:
        raise Undecodable("empty value where a change should be")
    id_ = schema_id_of(data)
    schema = registered_schemas().get(id_)
    if schema is None:
        raise UnknownSchema(f"schema id {id_} is not known here: upgrade this site first")
    try:
        if schema.subject == "EntityChange":
            record = codec("EntityChange").decode(data)
            return EntityChange(**{**record, "action": EntityAction(record["action"])})
        if schema.subject == "RpcChange":
            record = codec("RpcChange").decode(data)
            return RpcChange(**{**record, "status": RpcStatus(record["status"])})
        return _attributes(codec("AttributeChange").decode(data))
    except ValueError as error:
        raise Undecodable(f"not a change: {error}") from error


def _attributes(record: dict[str, Any]) -> AttributeChange:
    upserts, deletes = record.pop("upserts"), record.pop("deletes")
    versions = {row["entry"]["key"]: row["version"] for row in upserts}
    versions |= {row["key"]: row["version"] for row in deletes}
    return AttributeChange(
        **{**record, "scope": Scope(record["scope"])},
        upserts={row["entry"]["key"]: kv_value(row["entry"]) for row in upserts},
        deletes=tuple(row["key"] for row in deletes),
        versions={key: version for key, version in versions.items() if version},
    )


def _entry(key: str, value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {**_EMPTY_ENTRY, "key": key, "bool_v": value}
    if isinstance(value, int):
        return {**_EMPTY_ENTRY, "key": key, "long_v": value}
    if isinstance(value, float):
        return {**_EMPTY_ENTRY, "key": key, "dbl_v": value}
    if isinstance(value, str):
        return {**_EMPTY_ENTRY, "key": key, "str_v": value}
    return {**_EMPTY_ENTRY, "key": key, "json_v": orjson.dumps(value).decode()}
