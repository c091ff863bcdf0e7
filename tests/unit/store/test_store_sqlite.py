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
from edgeferry.core.store import Store
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.store.behaviour import StoreBehaviour
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
