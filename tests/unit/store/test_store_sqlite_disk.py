"""The SQLite store on a disk that fills up or turns read-only."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import Position, Store, TimeseriesDelete
from tests.disks import full_for_sqlite, nothing_can_be_opened
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write
from tests.unit.store.sqlite_stores import store_in
from tests.unit.store.test_store_sqlite_formats import format_of, old_store


@pytest.mark.asyncio
async def test_a_full_disk_refuses_all_writing_and_passes(tmp_path: Path, store: Store) -> None:
    device, new_device = new_entity_id(), new_entity_id()
    await store.timeseries.save([write(device, v=0)])
    with full_for_sqlite():
        large = [write(device, T + i, STAMP + i, v="x" * 1000) for i in range(1, 1000)]
        for writes in (large, [write(new_device, first_key="x" * 200_000)]):
            with pytest.raises(StoreUnavailable, match=r"full: free space on its disk"):
                await store.timeseries.save(writes)
        with pytest.raises(StoreUnavailable, match="free space"):
            await store.attributes.save(
                [AttributesWrite(DEVICE, device, Scope.SERVER, {"a": "x" * 100_000}, T, STAMP)]
            )
        with pytest.raises(StoreUnavailable, match="free space"):
            await store.positions.save("stream", Position(1, 1, "x", "x" * 100_000))
        assert await all_history(store, device, "v") == [TsEntry("v", T, 0)]
        assert list(await store.timeseries.latest(DEVICE, new_device)) == []
    await store.timeseries.save(large)
    await store.timeseries.save([write(new_device, v=1)])
    await store.stop()
    await store.start()
    assert len(await all_history(store, device, "v")) == 1000
    assert await store.timeseries.latest(DEVICE, new_device) == [TsEntry("v", T, 1)]
    assert_whole(tmp_path)


@pytest.mark.asyncio
async def test_a_delete_on_a_full_disk_deletes_nothing_and_works_afterwards(
    tmp_path: Path, store: Store
) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, T + i, STAMP + i, v="x" * 900) for i in range(900)])
    with full_for_sqlite():
        delete = TimeseriesDelete(DEVICE, device, ["v"], 0, MAX_TS_MS, STAMP + 10_000)
        with pytest.raises(StoreUnavailable, match="free space"):
            await store.timeseries.delete(delete)
        assert len(await all_history(store, device, "v")) == 900
    # the failed delete is not remembered either
    await store.timeseries.save([write(device, T + 900, STAMP + 900, v="late")])
    assert len(await all_history(store, device, "v")) == 901
    await store.timeseries.delete(delete)
    assert await all_history(store, device, "v") == []
    assert_whole(tmp_path)


@pytest.mark.asyncio
async def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with full_for_sqlite():
        store = store_in(tmp_path)
        with pytest.raises(
            (StoreUnavailable, StoreUnusable),
            match=r"free space on its disk|check its disk for space",
        ):
            await store.start()
    await store.start()
    await store.timeseries.save([write(new_entity_id(), v=1)])
    await store.stop()


@pytest.mark.asyncio
async def test_an_older_file_on_a_full_disk_stays_as_it_is(tmp_path: Path) -> None:
    device = old_store(tmp_path)
    with full_for_sqlite():
        store = store_in(tmp_path)
        with pytest.raises(
            (StoreUnavailable, StoreUnusable),
            match=r"free space on its disk|check its disk for space",
        ):
            await store.start()
    assert format_of(tmp_path) == 1
    await store.start()
    assert len(await all_history(store, device, "v")) == 3
    await store.stop()


@pytest.mark.asyncio
async def test_a_disk_that_is_read_only_is_told_and_passes(tmp_path: Path) -> None:
    device = new_entity_id()
    store = store_in(tmp_path)
    await store.start()
    await store.timeseries.save([write(device, v=0)])
    await store.stop()
    with (
        nothing_can_be_opened(errno.EROFS),
        pytest.raises(
            StoreUnusable,
            match=r"Read-only file system\): choose another data folder or change its permissions",
        ),
    ):
        await store.start()
    await store.start()
    await store.timeseries.save([write(device, T + 1, STAMP + 1, v=1)])
    assert await store.timeseries.latest(DEVICE, device) == [TsEntry("v", T + 1, 1)]
    await store.stop()


def assert_whole(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "store.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
