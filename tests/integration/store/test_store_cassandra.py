"""The behaviour suite on a real Cassandra."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cassandra.cluster import Session
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.runtime.settings import CassandraSettings
from tests.integration.store.cassandra_bench import CassandraBench
from tests.unit.store.behaviour import StoreBehaviour
from tests.unit.store.bench import any_order


@pytest_asyncio.fixture
async def bench(
    shared_settings: CassandraSettings, cql: Session, key_folder: Path
) -> AsyncIterator[CassandraBench]:
    made = CassandraBench(shared_settings, cql, key_folder)
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

    @any_order(examples=15)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_aggregation_is_what_the_rules_say(
        self, bench: CassandraBench, data: st.DataObject
    ) -> None:
        await self.check_model(bench, data)

    @any_order(examples=25)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_saves_and_deletes_in_any_order_end_equal(
        self, bench: CassandraBench, data: st.DataObject
    ) -> None:
        await self.check_history_and_deletes_in_any_order(bench, data)

    @any_order(examples=25)
    @given(data=st.data())
    @pytest.mark.asyncio
    async def test_changes_of_attributes_in_any_order_end_equal(
        self, bench: CassandraBench, data: st.DataObject
    ) -> None:
        await self.check_changes_in_any_order(bench, data)
