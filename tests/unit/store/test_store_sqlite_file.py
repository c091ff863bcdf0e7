"""The SQLite file: crashes, damage, full disk, locks, and rows that age."""

import asyncio
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry
from edgeferry.core.store import Store
from tests.disks import no_file_grows_beyond
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write
from tests.unit.store.sqlite_stores import store_in


@pytest.mark.asyncio
async def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path, store: Store) -> None:
    other = store_in(tmp_path)
    with pytest.raises(StoreUnusable, match=rf"in use by another process \({os.getpid()}\)"):
        await other.start()
    await store.stop()
    await other.start()
    await other.stop()
    await store.start()


@pytest.mark.asyncio
async def test_a_tool_reads_beside_the_owner_and_cannot_write(tmp_path: Path, store: Store) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, v=1)])
    beside = store_in(tmp_path, read_only=True)
    await beside.start()
    await store.timeseries.save([write(device, T + 1, STAMP + 1, v=2)])
    assert await beside.timeseries.latest(DEVICE, device) == [TsEntry("v", T + 1, 2)]
    with pytest.raises(StoreUnavailable, match="not open for writing"):
        await beside.timeseries.save([write(device, v=3)])
    await beside.stop()


@pytest.mark.asyncio
async def test_a_tool_finds_no_store_where_none_was_made(tmp_path: Path) -> None:
    beside = store_in(tmp_path, read_only=True)
    with pytest.raises(StoreUnavailable, match="does not exist yet"):
        await beside.start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match="choose another data folder"):
        await store_in(tmp_path / "file" / "data").start()


@pytest.mark.asyncio
async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreUnusable, match="damaged"):
        await store_in(tmp_path).start()


@pytest.mark.asyncio
async def test_a_foreign_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreUnusable, match="not a store of edgeferry"):
        await store_in(tmp_path).start()


@pytest.mark.asyncio
async def test_a_damaged_page_is_told_as_damage(tmp_path: Path, store: Store) -> None:
    device = new_entity_id()
    writes = [write(device, T + i, STAMP + i, v="x" * 500) for i in range(500)]
    await store.timeseries.save(writes)
    await store.stop()
    path = tmp_path / "store.db"
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreUnusable, match="damaged"):
        await store.start()


@pytest.mark.asyncio
async def test_a_full_disk_passes(tmp_path: Path, store: Store) -> None:
    device = new_entity_id()
    await store.timeseries.save([write(device, v=0)])
    writes = [write(device, T + i, STAMP + i, v="x" * 1000) for i in range(1, 2000)]
    size = max(file.stat().st_size for file in tmp_path.iterdir())
    with no_file_grows_beyond(size), pytest.raises(StoreUnavailable, match=r"store\.db"):
        await store.timeseries.save(writes)
    assert await all_history(store, device, "v") == [TsEntry("v", T, 0)]
    await store.timeseries.save(writes)
    assert len(await all_history(store, device, "v")) == 2000


@pytest.mark.asyncio
async def test_names_of_a_failed_save_are_written_with_the_next(
    tmp_path: Path, store: Store
) -> None:
    first, second = new_entity_id(), new_entity_id()
    size = max(file.stat().st_size for file in tmp_path.iterdir())
    with no_file_grows_beyond(size), pytest.raises(StoreUnavailable):
        await store.timeseries.save([write(first, first_key="x" * 200_000)])
    await store.timeseries.save([write(second, second_key=2)])
    await store.timeseries.save([write(first, first_key=1)])
    await store.stop()
    await store.start()
    assert await store.timeseries.latest(DEVICE, first) == [TsEntry("first_key", T, 1)]
    assert await store.timeseries.latest(DEVICE, second) == [TsEntry("second_key", T, 2)]


@pytest.mark.asyncio
async def test_a_store_that_is_not_started_is_unavailable(tmp_path: Path) -> None:
    closed = store_in(tmp_path)
    with pytest.raises(StoreUnavailable):
        await closed.timeseries.latest(DEVICE, new_entity_id())
    with pytest.raises(StoreUnavailable):
        await closed.ping()


@pytest.mark.asyncio
async def test_values_with_a_time_to_live_go_when_it_is_over(tmp_path: Path) -> None:
    clock = ManualClock(T)
    store = store_in(tmp_path, clock)
    await store.start()
    device = new_entity_id()
    await store.timeseries.save([write(device, T, STAMP, ttl=10, v=1)])
    await store.timeseries.save([write(device, T + 1, STAMP + 1, v=2)])
    clock.advance(9)
    assert len(await all_history(store, device, "v")) == 2
    clock.advance(1)
    assert await all_history(store, device, "v") == [TsEntry("v", T + 1, 2)]
    clock.advance(100)
    await store.timeseries.save([write(device, T + 2, STAMP + 2, v=3)])
    await store.stop()
    with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
        assert connection.execute("SELECT count(*) FROM history").fetchone() == (2,)


@pytest.mark.asyncio
async def test_a_correction_takes_its_own_time_to_live(tmp_path: Path) -> None:
    clock = ManualClock(T)
    store = store_in(tmp_path, clock)
    await store.start()
    device = new_entity_id()
    await store.timeseries.save([write(device, T, STAMP, ttl=10, v=1)])
    await store.timeseries.save([write(device, T, STAMP + 1, v=2)])
    clock.advance(1000)
    assert await all_history(store, device, "v") == [TsEntry("v", T, 2)]
    await store.stop()


_WRITER = """
import asyncio, sys
from pathlib import Path
from edgeferry.core.clock import SystemClock
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.store.bench import STAMP, T, write

async def main(folder, device):
    store = open_store(settings=StoreSettings(), data=Path(folder), clock=SystemClock())
    await store.start()
    start = len(await store.timeseries.history("DEVICE", device, "v", 0, 2**62, 10**9))
    async def save(first):
        await store.timeseries.save(
            [write(device, T + i, STAMP + i, v=i, w="x" * 300) for i in range(first, first + 20)]
        )
        print(first + 20, flush=True)
    for first in range(start, 10**9, 80):
        await asyncio.gather(*(save(first + part * 20) for part in range(4)))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.asyncio
async def test_nothing_acknowledged_is_lost_by_sigkill(tmp_path: Path) -> None:
    device = new_entity_id()
    acknowledged = 0
    for kill in range(4):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _WRITER, str(tmp_path), device),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )
        assert process.stdout is not None
        target = acknowledged + 200 + kill * 37
        while acknowledged < target:
            line = await process.stdout.readline()
            assert line, "the writer ended by itself"
            acknowledged = max(acknowledged, int(line))
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
        acknowledged = max([acknowledged, *(int(line) for line in rest.split())])
        store = store_in(tmp_path)
        await store.start()
        found = [entry.value for entry in await all_history(store, device, "v")]
        assert found[:acknowledged] == list(range(acknowledged))
        latest = await store.timeseries.latest(DEVICE, device, ["v"])
        assert latest[0].value == max(value for value in found if isinstance(value, int))
        await store.stop()
