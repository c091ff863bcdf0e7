"""A record for people and programs: decoded where its schema is known, never hidden."""

from collections.abc import AsyncIterator, Mapping

from edgeferry.core.errors import Undecodable
from edgeferry.core.record import Headers, LogReader, PartitionEnds, Record
from edgeferry.log.codec import codec, schema_id_of
from edgeferry.log.schemas import registered_schemas

_READ_BYTES = 1_000_000


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
        if value is None:
            raise Undecodable("no value")
        schema = registered_schemas().get(schema_id_of(value))
        if schema is None:
            raise Undecodable(f"schema id {schema_id_of(value)} is not known here")
        decoded = codec(schema.subject).decode(value)
    except Undecodable as error:
        return {"undecodable": str(error), "bytes": value.hex() if value is not None else None}
    return {"schema": schema.subject, "value": _plain(decoded)}


def _plain(value: object) -> object:
    """Bytes become hex, so that the whole is JSON."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


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
