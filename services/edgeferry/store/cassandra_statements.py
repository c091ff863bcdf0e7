"""The statements that write time series, and the heads of their encoded rows."""

from collections.abc import Sequence

from cassandra.cluster import Session
from cassandra.query import PreparedStatement

from edgeferry.store.cassandra_rows import VALUE_COLUMNS, row_head

_HISTORY_KEY = ("entity_type", "entity_id", "key", "partition", "ts")
_LATEST_KEY = ("entity_type", "entity_id", "key", "ts")
_PARTITION_KEY = ("entity_type", "entity_id", "key", "partition")


def insert_cql(table: str, columns: Sequence[str], using: str = "") -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {using}"


def writetimes() -> str:
    """The write timestamps of the value columns, of which one is not null."""
    return ", ".join(f"writetime({column})" for column in VALUE_COLUMNS)


class WriteStatements:
    """Heads by what a row writes. ``one_column[kind]`` leaves the other columns unset,
    ``all_columns`` writes nulls into them; each also with a time to live."""

    def __init__(self, session: Session) -> None:
        # the driver keeps only weak references, and prepares again from them
        self._kept: list[PreparedStatement] = []
        timed, aging = "USING TIMESTAMP ?", "USING TIMESTAMP ? AND TTL ?"
        self.one_column = self._one_column(session, timed)
        self.one_column_ttl = self._one_column(session, aging)
        every = (*_HISTORY_KEY, *VALUE_COLUMNS)
        self.all_columns = self._head(session, insert_cql("ts_kv_cf", every, timed))
        self.all_columns_ttl = self._head(session, insert_cql("ts_kv_cf", every, aging))
        self.partition = self._head(session, insert_cql("ts_kv_partitions_cf", _PARTITION_KEY))
        self.latest = self._head(
            session, insert_cql("ts_kv_latest_cf", (*_LATEST_KEY, *VALUE_COLUMNS), timed)
        )

    def _one_column(self, session: Session, using: str) -> tuple[bytes, ...]:
        return tuple(
            self._head(session, insert_cql("ts_kv_cf", (*_HISTORY_KEY, column), using))
            for column in VALUE_COLUMNS
        )

    def _head(self, session: Session, cql: str) -> bytes:
        statement = session.prepare(cql)
        self._kept.append(statement)
        return row_head(statement)
