"""A site's topics and tables, read by nothing of Edgeferry: a plain Kafka consumer or SQLite,
Avro by the published schemas, CQL or SQL."""

import io
import json
import sqlite3
import struct
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import fastavro
import yaml
from cassandra.cluster import Session
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient

SCHEMAS = Path(__file__).parents[3] / "schemas"
_WAIT_SECONDS = 10.0
_VALUES = ("bool_v", "str_v", "long_v", "dbl_v", "json_v")
_JSON_KIND, _BOOL_KIND = 4, 0
COMINGS_AND_GOINGS = {
    "active",
    "lastConnectTime",
    "lastDisconnectTime",
    "lastActivityTime",
    "inactivityAlarmTime",
}
"""SERVER attributes that a site writes of a device whenever it likes."""

Point = tuple[str, int]
"""Key and ts."""
Place = tuple[str, str]
"""Scope and key."""


class Held(NamedTuple):
    """One record of a topic."""

    key: str
    schema: str
    value: dict[str, Any]
    partition: int
    offset: int


class Stored(Protocol):
    """What one site holds. A deleted attribute is None; ``COMINGS_AND_GOINGS`` are left out."""

    def topic(self, name: str) -> list[Held]: ...

    def groups(self) -> set[str]:
        """That have read."""
        ...

    def history(self, device: str) -> dict[Point, Any]: ...

    def latest(self, device: str) -> dict[Point, Any]: ...

    def attributes(self, device: str) -> dict[Place, Any]: ...

    def lose_store(self) -> None:
        """While the site does not run; its log stays."""
        ...


@cache
def schema_of(id_: int) -> tuple[str, Any]:
    """Subject and schema, as ``schemas/`` publishes them."""
    row = yaml.safe_load((SCHEMAS / "ids.yaml").read_text())[id_]
    return row["subject"], fastavro.parse_schema(json.loads((SCHEMAS / row["file"]).read_text()))


def decoded(value: bytes) -> tuple[str, dict[str, Any]]:
    """Confluent's wire format: the byte 0, the schema's id as four bytes, Avro."""
    magic, id_ = struct.unpack(">bI", value[:5])
    assert magic == 0
    subject, schema = schema_of(id_)
    body = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(body, schema, None)
    assert isinstance(record, dict)
    assert not body.read()
    return subject, record


class OnSqlite:
    """``folder``: the site's data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def topic(self, name: str) -> list[Held]:
        found = self._rows("log.db", "SELECT id, partitions FROM topics WHERE name = ?", name)
        assert found, f"there is no topic {name}"
        ((id_, partitions),) = found
        return [
            Held(key.decode(), *decoded(value), partition, offset)
            for partition in range(partitions)
            for offset, key, value in self._rows(
                "log.db", f"SELECT offset, key, value FROM records_{id_}_{partition}"
            )
        ]

    def groups(self) -> set[str]:
        return {name for (name,) in self._rows("log.db", "SELECT group_name FROM group_offsets")}

    def history(self, device: str) -> dict[Point, Any]:
        return self._points("history", device)

    def latest(self, device: str) -> dict[Point, Any]:
        return self._points("latest", device)

    def _points(self, table: str, device: str) -> dict[Point, Any]:
        rows = self._of_device(table, "key.key, ts, kind, value", device)
        return {(key, ts): _value(kind, value) for key, ts, kind, value in rows}

    def attributes(self, device: str) -> dict[Place, Any]:
        columns = "scope, key.key, kind, value, deleted"
        rows = self._of_device("attributes", columns, device)
        return {
            (scope, key): None if deleted else _value(kind, value)
            for scope, key, kind, value, deleted in rows
            if key not in COMINGS_AND_GOINGS
        }

    def lose_store(self) -> None:
        for file in self._folder.glob("store.db*"):
            file.unlink()

    def _of_device(self, table: str, columns: str, device: str) -> list[Any]:
        return self._rows(
            "store.db",
            f"SELECT {columns} FROM {table} JOIN keys AS key ON key.id = {table}.key "
            f"JOIN entities AS entity ON entity.id = {table}.entity WHERE entity_id = ?",
            device,
        )

    def _rows(self, file: str, query: str, *given: str) -> list[Any]:
        place = f"file:{self._folder / file}?mode=ro"
        with closing(sqlite3.connect(place, uri=True, timeout=_WAIT_SECONDS)) as database:
            return database.execute(query, given).fetchall()


def _value(kind: int, value: Any) -> Any:
    if kind == _JSON_KIND:
        return json.loads(value)
    return bool(value) if kind == _BOOL_KIND else value


class OnServers:
    """``kafka``: host:port. ``site``: the start of the names of its topics."""

    def __init__(self, kafka: str, site: str, cql: Session, keyspace: str) -> None:
        self.kafka = kafka
        self._site = site
        self._cql = cql
        self._keyspace = keyspace
        self._admin = AdminClient({"bootstrap.servers": kafka})

    def topic(self, name: str) -> list[Held]:
        settings = {
            "bootstrap.servers": self.kafka,
            "group.id": f"looks-{uuid.uuid4()}",
            "enable.auto.commit": False,
            "enable.partition.eof": False,
        }
        consumer = Consumer(settings)
        try:
            return [_held(message) for message in _all_of(consumer, name)]
        finally:
            consumer.close()

    def groups(self) -> set[str]:
        listed = self._admin.list_consumer_groups().result(_WAIT_SECONDS)
        names = {group.group_id for group in listed.valid}
        return {name for name in names if name.startswith(f"{self._site}.")}

    def history(self, device: str) -> dict[Point, Any]:
        return self._points("ts_kv_cf", device)

    def latest(self, device: str) -> dict[Point, Any]:
        return self._points("ts_kv_latest_cf", device)

    def _points(self, table: str, device: str) -> dict[Point, Any]:
        return {(row.key, row.ts): _only(row) for row in self._of_device(table, device)}

    def attributes(self, device: str) -> dict[Place, Any]:
        return {
            (row.scope, row.key): None if row.deleted else _only(row)
            for row in self._of_device("attributes_kv_cf", device)
            if row.key not in COMINGS_AND_GOINGS
        }

    def lose_store(self) -> None:
        query = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
        for row in self._cql.execute(query, (self._keyspace,)):
            self._cql.execute(f"TRUNCATE {self._keyspace}.{row.table_name}", timeout=60)

    def _of_device(self, table: str, device: str) -> list[Any]:
        query = (
            f"SELECT * FROM {self._keyspace}.{table} "
            "WHERE entity_type = 'DEVICE' AND entity_id = %s ALLOW FILTERING"
        )
        return list(self._cql.execute(query, (uuid.UUID(device),)))


def _only(row: Any) -> Any:
    """The one value column that is set."""
    (name,) = [name for name in _VALUES if getattr(row, name) is not None]
    value = getattr(row, name)
    return json.loads(value) if name == "json_v" else value


def _all_of(consumer: Consumer, name: str) -> Iterator[Message]:
    """What the topic holds now."""
    partitions = consumer.list_topics(name, timeout=_WAIT_SECONDS).topics[name].partitions
    assert partitions, f"there is no topic {name}"
    left: set[tuple[int, int]] = set()
    begin = []
    for number in partitions:
        low, high = consumer.get_watermark_offsets(
            TopicPartition(name, number), timeout=_WAIT_SECONDS
        )
        if low < high:
            begin.append(TopicPartition(name, number, low))
            left.add((number, high))
    consumer.assign(begin)
    while left:
        message = consumer.poll(_WAIT_SECONDS)
        assert message is not None, f"{name} gives no more records, and has {left}"
        assert message.error() is None, message.error()
        yield message
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        left = {(at, end) for at, end in left if at != partition or offset + 1 < end}


def _held(message: Message) -> Held:
    key, value, partition, offset = (
        message.key(),
        message.value(),
        message.partition(),
        message.offset(),
    )
    assert isinstance(key, bytes)
    assert isinstance(value, bytes)
    assert partition is not None
    assert offset is not None
    return Held(key.decode(), *decoded(value), partition, offset)
