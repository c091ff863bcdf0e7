"""The behaviour suite on a real Cassandra, and what only Cassandra can get wrong."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from cassandra.cluster import Session
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.store.behaviour import DEVICE, StoreBehaviour, T, any_order

from edgeferry.core.clock import ManualClock
from edgeferry.core.store import Store
from edgeferry.runtime.settings import CassandraSettings, StoreSettings
from edgeferry.store import open_store

COLUMNS = ("bool_v", "str_v", "long_v", "dbl_v", "json_v")


@pytest.fixture(scope="module")
def shared_keyspace(cql: Session) -> Iterator[str]:
    """One keyspace for this file: every test has its own entities."""
    name = f"t{uuid4().hex[:12]}"
    yield name
    cql.execute(f"DROP KEYSPACE IF EXISTS {name}")


class CassandraBench:
    def __init__(self, address: str, keyspace: str, cql: Session) -> None:
        self.clock = ManualClock(T + 60_000)
        self.settings = StoreSettings(
            kind="cassandra",
            cassandra=CassandraSettings(contact_points=(address,), keyspace=keyspace),
        )
        self._cql = cql
        self._keyspace = keyspace
        self.store = self._make()

    def _make(self) -> Store:
        return open_store(settings=self.settings, data=Path("unused"), clock=self.clock)

    async def reopen(self) -> None:
        await self.store.stop()
        self.store = self._make()
        await self.store.start()

    async def history_columns(self, entity_id: str, key: str, ts: int) -> list[str]:
        partitions = [
            row[0]
            for row in self._cql.execute(
                f"SELECT partition FROM {self._keyspace}.ts_kv_partitions_cf"
                " WHERE entity_type = %s AND entity_id = %s AND key = %s",
                (DEVICE, UUID(entity_id), key),
            )
        ]
        found: list[str] = []
        for partition in partitions:
            found += self._columns(
                "ts_kv_cf", "AND partition = %s AND ts = %s", entity_id, key, partition, ts
            )
        return found

    async def latest_columns(self, entity_id: str, key: str) -> list[str]:
        return self._columns("ts_kv_latest_cf", "", entity_id, key)

    def _columns(self, table: str, also: str, entity_id: str, *cells: str | int) -> list[str]:
        rows = self._cql.execute(
            f"SELECT {', '.join(COLUMNS)} FROM {self._keyspace}.{table}"
            f" WHERE entity_type = %s AND entity_id = %s AND key = %s {also}",
            (DEVICE, UUID(entity_id), *cells),
        )
        return [
            column
            for row in rows
            for column, value in zip(COLUMNS, row, strict=True)
            if value is not None
        ]


@pytest_asyncio.fixture
async def bench(
    cassandra: str, shared_keyspace: str, cql: Session
) -> AsyncIterator[CassandraBench]:
    made = CassandraBench(cassandra, shared_keyspace, cql)
    await made.store.start()
    yield made
    await made.store.stop()


class TestCassandraStore(StoreBehaviour):
    @any_order(examples=25)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_any_order_of_arrival_ends_equal(
        self, bench: CassandraBench, data: st.DataObject
    ) -> None:
        await self.check_any_order(bench, data)
