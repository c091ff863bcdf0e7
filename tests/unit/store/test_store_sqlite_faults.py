"""What goes wrong in the SQLite store's writer or is given up there, and what is told of it."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgeferry.core.errors import Later, StoreFault, StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import TimeseriesDelete
from edgeferry.store.sqlite import SqliteStore
from edgeferry.store.sqlite_writer import Execute
from tests.disks import no_file_grows_beyond
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write

pytestmark = pytest.mark.asyncio


class Held:
    """The writer's thread, until it is let go."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._begun, self._go_on = threading.Event(), threading.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._store._writer.run(self._hold))
        assert await asyncio.to_thread(self._begun.wait, 20)

    def _hold(self, execute: Execute) -> None:
        self._begun.set()
        assert self._go_on.wait(20)

    async def __aexit__(self, *error: object) -> None:
        self._go_on.set()
        assert self._task is not None
        await self._task


@pytest.mark.parametrize("whole", [False, True])
async def test_a_delete_whose_caller_has_gone_is_remembered(
    store: SqliteStore, whole: bool
) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, v=1)])
    work: Coroutine[Any, Any, object]
    if whole:
        work = store.timeseries.delete_entity(DEVICE, device, STAMP + 5)
    else:
        delete = TimeseriesDelete(DEVICE, device, ("v",), 0, T + 10, STAMP + 5)
        work = store.timeseries.delete(delete)
    async with Held(store):
        deleting = asyncio.create_task(work)
        while not store.timeseries._deleting.locked():
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        deleting.cancel()
        await asyncio.wait([deleting])
        late = asyncio.create_task(store.timeseries.save([write(device, T, STAMP + 1, v=2)]))
        await asyncio.sleep(0)
    await late
    assert deleting.cancelled()
    assert await all_history(store, device, "v") == []
    assert await store.timeseries.latest(DEVICE, device) == []


async def test_only_the_caller_at_fault_fails_and_it_is_told_once(
    store: SqliteStore, caplog: pytest.LogCaptureFixture
) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, v=0)])
    async with Held(store):
        works = [
            asyncio.create_task(store.timeseries.save([write(device, T + 1, STAMP + 1, v=1)])),
            asyncio.create_task(store._writer.run(lambda execute: 1 // 0)),
            asyncio.create_task(store.timeseries.save([write(device, T + 2, STAMP + 2, v=2)])),
        ]
        await asyncio.sleep(0)
    first, fault, last = await asyncio.gather(*works, return_exceptions=True)
    assert (first, last) == (None, None)
    assert isinstance(fault, StoreFault)
    assert not isinstance(fault, Later)
    assert "ZeroDivisionError" in str(fault)
    assert [entry.value for entry in await all_history(store, device, "v")] == [0, 1, 2]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    await store.ping()


async def test_a_store_that_cannot_be_written_says_so_until_it_can(
    tmp_path: Path, store: SqliteStore
) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, v=0)])
    writes = [write(device, T + i, STAMP + i, v="x" * 1000) for i in range(1, 2000)]
    with no_file_grows_beyond(max(file.stat().st_size for file in tmp_path.iterdir())):
        with pytest.raises(StoreUnavailable):
            await store.timeseries.save(writes)
        with pytest.raises(StoreUnavailable, match=r"store\.db"):
            await store.ping()
    await store.ping()
    assert store._writer.problem == ""
    assert await store.positions.all() == {}


async def test_damage_is_looked_for_at_the_start_of_a_store_of_some_size(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = new_entity_id()
    writes = [write(device, T + i, STAMP + i, v="x" * 500) for i in range(500)]
    await store.timeseries.save(writes)
    await store.stop()
    path = tmp_path / "store.db"
    data = bytearray(path.read_bytes())
    begin = (len(data) // 2) // 4096 * 4096
    data[begin : begin + 4096] = os.urandom(4096)
    path.write_bytes(data)
    with pytest.raises(StoreUnusable, match="damaged"):
        await store.start()
    monkeypatch.setattr("edgeferry.files.sqlite.CHECKED_BYTES", 4096)
    await store.start()
