"""The statements that write time series, and the heads of their encoded rows."""

from collections.abc import Sequence
from functools import cached_property

from edgeferry.store.cassandra_rows import VALUE_COLUMNS
from edgeferry.store.cassandra_session import CassandraSession, Query

_HISTORY_KEY = ("entity_type", "entity_id", "key", "partition", "ts")
_LATEST_KEY = ("entity_type", "entity_id", "key", "ts")
_PARTITION_KEY = ("entity_type", "entity_id", "key", "partition")
_TIMED = "USING TIMESTAMP ?"
_AGING = "USING TIMESTAMP ? AND TTL ?"


def insert_cql(table: str, columns: Sequence[str], using: str = "") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {using}"


def writetimes() -> str:
    """The write timestamps of the value columns, of which one is not null."""
    return ", ".join(f"writetime({column})" for column in VALUE_COLUMNS)


class WriteStatements:
    """Heads by what a row writes. ``one_column[kind]`` leaves the other columns unset,
    ``all_columns`` writes nulls into them; each also with a time to live.

    All raise StoreUnavailable before the session has started."""

    def __init__(self, session: CassandraSession) -> None:
        every = (*_HISTORY_KEY, *VALUE_COLUMNS)
        self._one_column = _one_column(session, _TIMED)
        self._one_column_ttl = _one_column(session, _AGING)
        self._all_columns = session.query(insert_cql("ts_kv_cf", every, _TIMED))
        self._all_columns_ttl = session.query(insert_cql("ts_kv_cf", every, _AGING))
        self._partition = session.query(insert_cql("ts_kv_partitions_cf", _PARTITION_KEY))
        latest = (*_LATEST_KEY, *VALUE_COLUMNS)
        self._latest = session.query(insert_cql("ts_kv_latest_cf", latest, _TIMED))

    @cached_property
    def one_column(self) -> tuple[bytes, ...]:
        return tuple(query.head for query in self._one_column)

    @cached_property
    def one_column_ttl(self) -> tuple[bytes, ...]:
        return tuple(query.head for query in self._one_column_ttl)

    @cached_property
    def all_columns(self) -> bytes:
        return self._all_columns.head

    @cached_property
    def all_columns_ttl(self) -> bytes:
        return self._all_columns_ttl.head

    @cached_property
    def partition(self) -> bytes:
        return self._partition.head

    @cached_property
    def latest(self) -> bytes:
        return self._latest.head


def _one_column(session: CassandraSession, using: str) -> list[Query]:
    return [
        session.query(insert_cql("ts_kv_cf", (*_HISTORY_KEY, column), using))
        for column in VALUE_COLUMNS
    ]
