"""One keyspace for the tests of the store: every test has its own entities."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from cassandra.cluster import Session

from edgeferry.runtime.settings import CassandraSettings


@pytest.fixture(scope="session")
def shared_settings(cassandra: str, cql: Session) -> Iterator[CassandraSettings]:
    name = f"t{uuid4().hex[:12]}"
    yield CassandraSettings(contact_points=(cassandra,), keyspace=name)
    cql.execute(f"DROP KEYSPACE IF EXISTS {name}")


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the credentials: one keyspace has one key."""
    return tmp_path_factory.mktemp("key")
