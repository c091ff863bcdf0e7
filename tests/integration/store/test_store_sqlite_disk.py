"""SQLite on a small file system of its own that fills up and turns read-only.

Mounting wants root."""

import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import Position, Store, TimeseriesDelete
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write
from tests.unit.store.test_store_sqlite_formats import format_of, old_store

SIZE = 16 * 1024 * 1024


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for size in (65536, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path], check=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", path], check=True)


def store_on(disk: Disk) -> Store:
    return open_store(settings=StoreSettings(), data=disk.path, clock=ManualClock(T + 60_000))


@pytest_asyncio.fixture
async def store(disk: Disk) -> AsyncIterator[Store]:
    made = store_on(disk)
    await made.start()
    yield made
    await made.stop()


@pytest.mark.asyncio
async def test_a_full_disk_refuses_all_writing_and_passes(disk: Disk, store: Store) -> None:
    device, new_device = new_entity_id(), new_entity_id()
    await store.timeseries.save([write(device, v=0)])
    disk.fill()
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
    disk.free()
    await store.timeseries.save(large)
    await store.timeseries.save([write(new_device, v=1)])
    await store.stop()
    await store.start()
    assert len(await all_history(store, device, "v")) == 1000
    assert await store.timeseries.latest(DEVICE, new_device) == [TsEntry("v", T, 1)]
    assert_whole(disk)


@pytest.mark.asyncio
async def test_a_delete_on_a_full_disk_deletes_nothing_and_works_afterwards(
    disk: Disk, store: Store
) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, T + i, STAMP + i, v="x" * 900) for i in range(900)])
    disk.fill()
    delete = TimeseriesDelete(DEVICE, device, ["v"], 0, MAX_TS_MS, STAMP + 10_000)
    with pytest.raises(StoreUnavailable, match="free space"):
        await store.timeseries.delete(delete)
    assert len(await all_history(store, device, "v")) == 900
    disk.free()
    # the failed delete is not remembered either
    await store.timeseries.save([write(device, T + 900, STAMP + 900, v="late")])
    assert len(await all_history(store, device, "v")) == 901
    await store.timeseries.delete(delete)
    assert await all_history(store, device, "v") == []
    assert_whole(disk)


@pytest.mark.asyncio
async def test_a_start_on_a_full_disk_says_what_to_do(disk: Disk) -> None:
    disk.fill()
    store = store_on(disk)
    with pytest.raises(
        (StoreUnavailable, StoreUnusable), match=r"free space on its disk|check its disk for space"
    ):
        await store.start()
    disk.free()
    await store.start()
    await store.timeseries.save([write(new_entity_id(), v=1)])
    await store.stop()


@pytest.mark.asyncio
async def test_an_older_file_on_a_full_disk_stays_as_it_is(disk: Disk) -> None:
    device = old_store(disk.path)
    disk.fill()
    store = store_on(disk)
    with pytest.raises(
        (StoreUnavailable, StoreUnusable), match=r"free space on its disk|check its disk for space"
    ):
        await store.start()
    disk.free()
    assert format_of(disk.path) == 1
    await store.start()
    assert len(await all_history(store, device, "v")) == 3
    await store.stop()


@pytest.mark.asyncio
async def test_a_disk_that_turns_read_only_is_told_and_passes(disk: Disk) -> None:
    device = new_entity_id()
    store = store_on(disk)
    await store.start()
    await store.timeseries.save([write(device, v=0)])
    await store.stop()
    disk.remount("ro")
    with pytest.raises(StoreUnusable, match="choose another data folder or change its permissions"):
        await store.start()
    disk.remount("rw")
    await store.start()
    await store.timeseries.save([write(device, T + 1, STAMP + 1, v=1)])
    assert await store.timeseries.latest(DEVICE, device) == [TsEntry("v", T + 1, 1)]
    await store.stop()


def assert_whole(disk: Disk) -> None:
    with closing(sqlite3.connect(disk.path / "store.db")) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
