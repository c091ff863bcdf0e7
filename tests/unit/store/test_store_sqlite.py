"""The behaviour suite on SQLite."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.clock import ManualClock
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Store
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.store.behaviour import StoreBehaviour
from tests.unit.store.behaviour_rpcs import rpc
from tests.unit.store.bench import DEVICE, T, any_order

COLUMNS = ("bool_v", "str_v", "long_v", "dbl_v", "json_v")


class SqliteBench:
    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(T + 60_000)
        self._folder = folder
        self.store = self._make()

    def _make(self) -> Store:
        return open_store(settings=StoreSettings(), data=self._folder, clock=self.clock)

    async def reopen(self) -> None:
        await self.store.stop()
        self.store = self._make()
        await self.store.start()

    async def age(self, seconds: int) -> None:
        self.clock.advance(seconds)

    async def history_columns(self, entity_id: str, key: str, ts: int) -> list[str]:
        return self._columns("history", "AND ts = ?", entity_id, key, ts)

    async def latest_columns(self, entity_id: str, key: str) -> list[str]:
        return self._columns("latest", "", entity_id, key)

    def _columns(self, table: str, also: str, *cells: str | int) -> list[str]:
        sql = f"""
            SELECT kind FROM {table} WHERE value IS NOT NULL
            AND entity = (SELECT id FROM entities WHERE entity_type = ? AND entity_id = ?)
            AND key = (SELECT id FROM keys WHERE key = ?) {also}
        """
        with closing(sqlite3.connect(self._folder / "store.db")) as connection:
            return [COLUMNS[row[0]] for row in connection.execute(sql, (DEVICE, *cells))]


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    made = SqliteBench(tmp_path / "data")
    await made.store.start()
    yield made
    await made.store.stop()


class TestSqliteStore(StoreBehaviour):
    @any_order(examples=200)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_any_order_of_arrival_ends_equal(
        self, bench: SqliteBench, data: st.DataObject
    ) -> None:
        await self.check_any_order(bench, data)

    @any_order(examples=100)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_aggregation_is_what_the_rules_say(
        self, bench: SqliteBench, data: st.DataObject
    ) -> None:
        await self.check_model(bench, data)

    @any_order(examples=200)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_saves_and_deletes_in_any_order_end_equal(
        self, bench: SqliteBench, data: st.DataObject
    ) -> None:
        await self.check_history_and_deletes_in_any_order(bench, data)

    @any_order(examples=200)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_changes_of_attributes_in_any_order_end_equal(
        self, bench: SqliteBench, data: st.DataObject
    ) -> None:
        await self.check_changes_in_any_order(bench, data)

    @pytest.mark.asyncio
    async def test_old_commands_are_forgotten(self, bench: SqliteBench) -> None:
        store, device = bench.store.rpcs, new_entity_id()
        old = [rpc(device, T - 1_000_000 + i)._replace(request='{"expirationTime": 1}')
               for i in range(3)]  # fmt: skip
        for one in old:
            await store.create(one)
        assert [await store.expire(T - 999_998, 1) for _ in range(3)] == [1, 1, 0]
        assert await store.page(device, None, 9, 0) == ([old[2]], 1)
        assert await store.get(old[0].rpc_id) is None
        assert await store.due(T, 9) == [old[2]]
        assert await store.create(old[0])
