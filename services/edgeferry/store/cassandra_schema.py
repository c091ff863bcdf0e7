"""The keyspace and its tables (``schemas/cassandra``), made where they are missing."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cassandra.cluster import Session

TABLES = (
    "ts_kv_cf",
    "ts_kv_partitions_cf",
    "ts_kv_latest_cf",
    "attributes_kv_cf",
    "sync_position_cf",
    "edge_event_cf",
    "edge_event_head_cf",
    "entity_cf",
    "entity_name_cf",
    "credentials_cf",
    "credentials_token_cf",
    "assignment_cf",
    "edge_entity_cf",
    "rpc_cf",
    "rpc_place_cf",
    "rpc_end_cf",
)
ADDED_COLUMNS = {
    ("ts_kv_latest_cf", "deletes"): "text",
    ("attributes_kv_cf", "decisions"): "text",
    ("entity_cf", "decisions"): "text",
}
"""Columns that tables made by earlier versions, or by ThingsBoard, do not have."""

_SUFFIX = ".cql"


@cache
def table_statements() -> Mapping[str, str]:
    """Table -> its CREATE TABLE statement; one file holds one statement."""
    folder = _cql_folder()
    return {table: folder.joinpath(table + _SUFFIX).read_text() for table in TABLES}


def make_missing(session: Session, keyspace: str, replication: int) -> None:
    """Make keyspace, tables and columns that are not there, and use the keyspace.

    Looks first: making a table takes the server a tenth of a second even if it exists."""
    found = session.execute(
        "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s", (keyspace,)
    )
    if not found.one():
        session.execute(
            f'CREATE KEYSPACE IF NOT EXISTS "{keyspace}" WITH replication = '
            f"{{'class': 'NetworkTopologyStrategy', 'replication_factor': {replication}}}"
        )
    session.set_keyspace(keyspace)
    rows = session.execute(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (keyspace,)
    )
    present = {row[0] for row in rows}
    for table, statement in table_statements().items():
        if table not in present:
            session.execute(statement)
    _add_missing_columns(session, keyspace)


def _add_missing_columns(session: Session, keyspace: str) -> None:
    rows = session.execute(
        "SELECT table_name, column_name FROM system_schema.columns WHERE keyspace_name = %s",
        (keyspace,),
    )
    present = {tuple(row) for row in rows}
    for (table, column), kind in ADDED_COLUMNS.items():
        if (table, column) not in present:
            session.execute(f"ALTER TABLE {table} ADD IF NOT EXISTS {column} {kind}")


def _cql_folder() -> Traversable:
    """``schemas/cassandra`` of the checkout, or its copy in the wheel."""
    packaged = files("edgeferry").joinpath("_schemas", "cassandra")
    if packaged.is_dir():
        return packaged
    return Path(__file__).resolve().parents[3] / "schemas" / "cassandra"
