"""A record for people and programs: decoded where its schema is known, never hidden but for
credentials."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

import orjson

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Undecodable
from edgeferry.core.events import CloudEvent
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Headers, LogReader, PartitionEnds, Record
from edgeferry.log.codec import (
    codec,
    decode_cloud_event,
    decode_dead_letter,
    decode_edge_event,
    decode_message,
    schema_id_of,
)
from edgeferry.log.schemas import registered_schemas
from edgeferry.tools.output import moment

_READ_BYTES = 1_000_000
_MASK = "***"
_NAMES_CREDENTIALS = re.compile(r"credentials", re.IGNORECASE)


def readable(record: Record) -> dict[str, object]:
    """Where it stands, its key and headers as text, its value as the schema says."""
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "headers": header_texts(record.headers),
        **_value(record.value),
    }


def _value(value: bytes | None) -> dict[str, object]:
    try:
        subject = _subject(value)
        decoded = codec(subject).decode(value)
    except Undecodable as error:
        return {"undecodable": str(error), "bytes": value.hex() if value is not None else None}
    return {"schema": subject, "value": _plain(decoded)}


class Content(NamedTuple):
    """What a record holds, for a person: whose it is, what it is, and its body."""

    who: str
    what: str
    body: str


def content(record: Record) -> Content:
    """Never fails: what cannot be decoded is shown as it is."""
    value = record.value
    try:
        who, what, body = _content(_subject(value), value)
        return Content(who, what, masked(body))
    except Undecodable as error:
        held = text(value) if value is not None else ""
        return Content(text(record.key) or "", "undecodable", f"{error}: {held}")


def _content(subject: str, value: bytes | None) -> Content:
    match subject:
        case "RuleMessage":
            return _of_message(decode_message(value))
        case "CloudEvent":
            return _of_event(decode_cloud_event(value))
        case "EdgeEvent":
            return _of_event(decode_edge_event(value).event)
        case "DeadLetter":
            return _of_letter(decode_dead_letter(value))
        case _:
            return Content("", subject, _json(_plain(codec(subject).decode(value))))


def _of_message(message: RuleMessage) -> Content:
    name = message.metadata.get("deviceName")
    return Content(name or f"{message.entity_type} {message.entity_id}", message.type, message.data)


def _of_event(event: CloudEvent) -> Content:
    who = event.entity_name or f"{event.entity_type} {event.entity_id}"
    if event.timeseries is not None:
        body = ", ".join(
            f"{_json(dict(point.values))} at {moment(point.ts)}" for point in event.timeseries
        )
    elif event.attributes is not None:
        body = f"{event.attributes.scope} {_json(dict(event.attributes.values))}"
    elif event.attribute_keys is not None:
        body = f"{event.attribute_keys.scope} without {', '.join(event.attribute_keys.keys)}"
    else:
        body = event.rpc or event.alarm or event.entity or ""
    return Content(who, event.action, body)


def _of_letter(letter: DeadLetter) -> Content:
    return Content(text(letter.key) or "", f"dead letter of {letter.node}", letter.error_text)


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _subject(value: bytes | None) -> str:
    """Of a value's schema. Raises Undecodable."""
    if value is None:
        raise Undecodable("no value")
    schema = registered_schemas().get(schema_id_of(value))
    if schema is None:
        raise Undecodable(f"schema id {schema_id_of(value)} is not known here")
    return schema.subject


def _plain(value: object) -> object:
    """Bytes become hex, so that the whole is JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def masked(text: str) -> str:
    """JSON text without the credentials in it; any other text as it is. An access token opens
    the device to whoever reads it."""
    if not _NAMES_CREDENTIALS.search(text):
        return text
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return json.dumps(_without_credentials(document), ensure_ascii=False)


def _without_credentials(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: _MASK if _is_secret(name, inner) else _without_credentials(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_credentials(inner) for inner in value]
    if isinstance(value, str):
        return masked(value)  # JSON in JSON
    return value


def _is_secret(name: str, value: object) -> bool:
    return name in ("credentials", "credentialsId", "credentialsValue") and value is not None


def text(value: bytes | None) -> str | None:
    return value.decode(errors="backslashreplace") if value is not None else None


def header_texts(headers: Headers) -> dict[str, str | None]:
    return {name: text(value) for name, value in headers}


async def stored_records(
    reader: LogReader, topic: str, ends: Mapping[int, PartitionEnds]
) -> AsyncIterator[Record]:
    """All records within ``ends``, partition by partition. Raises LogUnavailable."""
    for partition, (start, end) in sorted(ends.items()):
        offset = start
        while offset < end:
            records = await reader.read(topic, partition, offset, _READ_BYTES, 2_000)
            if not records:
                break  # what is left are gaps
            for record in records:
                if record.offset < end:
                    yield record
            offset = records[-1].offset + 1
