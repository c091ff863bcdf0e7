"""Files of other formats: older ones are brought up to date, with all that is in them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.aggregation import Aggregation, Step
from edgeferry.core.changes import RpcStatus
from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.store import Position, TimeseriesDelete
from edgeferry.store.sqlite_schema import FORMAT
from tests.unit.store.behaviour_rpcs import rpc
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write
from tests.unit.store.sqlite_stores import store_in

FORMAT_1 = """
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL,
    UNIQUE (entity_type, entity_id)
) STRICT;
CREATE TABLE keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE history (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL, expires INTEGER,
    PRIMARY KEY (entity, key, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_expires ON history (expires) WHERE expires IS NOT NULL;
CREATE TABLE latest (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL,
    PRIMARY KEY (entity, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE attributes (
    entity INTEGER NOT NULL, scope TEXT NOT NULL, key INTEGER NOT NULL,
    kind INTEGER, value ANY, last_update_ts INTEGER NOT NULL,
    version INTEGER NOT NULL, origin TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (entity, scope, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
    stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    incarnation TEXT NOT NULL, detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x65646672;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


def old_store(folder: Path) -> str:
    """A file as the first version wrote it; the id of its one device."""
    device = new_entity_id()
    with closing(sqlite3.connect(folder / "store.db")) as file:
        file.executescript(FORMAT_1)
        file.execute("INSERT INTO entities VALUES (1, 'DEVICE', ?)", (device,))
        file.execute("INSERT INTO keys VALUES (1, 'v'), (2, 'limit')")
        for i in range(3):
            cells = (T + i, STAMP + i, i)
            file.execute("INSERT INTO history VALUES (1, 1, ?, ?, 2, ?, NULL)", cells)
        file.execute("INSERT INTO latest VALUES (1, 1, ?, ?, 2, 2)", (T + 2, STAMP + 2))
        file.execute(
            "INSERT INTO attributes VALUES (1, 'SHARED_SCOPE', 2, 1, 'x', ?, ?, 'edge', 0)",
            (T, STAMP),
        )
        file.execute("INSERT INTO positions VALUES ('up', 3, 77, 'first', '{}')")
        file.commit()
    return device


def format_of(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "store.db")) as file:
        return int(file.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.asyncio
async def test_a_file_of_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    device = old_store(tmp_path)
    for _ in range(2):
        store = store_in(tmp_path)
        await store.start()
        assert await store.timeseries.latest(DEVICE, device) == [TsEntry("v", T + 2, 2)]
        assert [entry.value for entry in await all_history(store, device, "v")] == [0, 1, 2]
        (attribute,) = await store.attributes.attributes(DEVICE, device, Scope.SHARED)
        assert tuple(attribute) == ("limit", "x", T, STAMP)
        assert await store.positions.load("up") == Position(3, 77, "first", "{}")
        await store.stop()
    assert format_of(tmp_path) == FORMAT


@pytest.mark.asyncio
async def test_what_is_new_works_on_a_file_of_the_first_format(tmp_path: Path) -> None:
    device = old_store(tmp_path)
    store = store_in(tmp_path)
    await store.start()
    whole = [Step(T, T + 1000)]
    sums = await store.timeseries.aggregate(DEVICE, device, "v", whole, Aggregation.SUM)
    assert sums == [TsEntry("v", T + 500, 3)]
    await store.timeseries.delete(
        TimeseriesDelete(DEVICE, device, ["v"], T + 1, MAX_TS_MS, STAMP + 100)
    )
    await store.timeseries.save([write(device, T + 1, STAMP + 1, v="late")])
    assert await all_history(store, device, "v") == [TsEntry("v", T, 0)]
    await store.stop()


@pytest.mark.asyncio
async def test_a_new_file_and_one_brought_up_to_date_have_the_same_tables(tmp_path: Path) -> None:
    (old, new) = (tmp_path / "old", tmp_path / "new")
    old.mkdir()
    old_store(old)
    shapes = []
    for folder in (old, new):
        store = store_in(folder)
        await store.start()
        await store.stop()
        with closing(sqlite3.connect(folder / "store.db")) as file:
            tables = [row[0] for row in file.execute("SELECT name FROM sqlite_schema ORDER BY 1")]
            shapes.append({name: file.execute(f"PRAGMA table_xinfo({name})").fetchall()
                           for name in tables})  # fmt: skip
    assert shapes[0] == shapes[1]


@pytest.mark.asyncio
async def test_open_commands_of_an_older_file_have_an_end(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    await store.start()
    made = [
        rpc(new_entity_id(), T, status)._replace(request=request)
        for status, request in (
            (RpcStatus.SENT, '{"expirationTime": 5}'),
            (RpcStatus.EXPIRED, '{"expirationTime": 5}'),
            (RpcStatus.QUEUED, '{"expirationTime": null}'),
            (RpcStatus.QUEUED, "no JSON"),
        )
    ]
    for one in made:
        await store.rpcs.create(one)
    await store.stop()
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        file.executescript(
            "DROP TABLE rpc_ends; ALTER TABLE known_entities DROP COLUMN decisions;"
            "PRAGMA user_version = 4;"
        )
    store = store_in(tmp_path)
    await store.start()
    assert await store.rpcs.due(5, 9) == made[:1]
    await store.stop()


@pytest.mark.asyncio
async def test_a_tool_leaves_an_older_file_alone_and_says_what_to_do(tmp_path: Path) -> None:
    old_store(tmp_path)
    with pytest.raises(StoreUnusable, match="older format 1: start its site"):
        await store_in(tmp_path, read_only=True).start()
    assert format_of(tmp_path) == 1


@pytest.mark.asyncio
async def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    old_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        file.execute("PRAGMA user_version = 99")
    for read_only in (False, True):
        with pytest.raises(StoreUnusable, match="use the newer version"):
            await store_in(tmp_path, read_only=read_only).start()
    assert format_of(tmp_path) == 99


@pytest.mark.asyncio
async def test_a_format_that_never_was_is_refused(tmp_path: Path) -> None:
    old_store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as file:
        file.execute("PRAGMA user_version = 0")
    with pytest.raises(StoreUnusable, match="unknown: restore it from a backup"):
        await store_in(tmp_path).start()


@pytest.mark.asyncio
async def test_a_file_that_another_program_holds_is_brought_up_to_date_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = old_store(tmp_path)
    monkeypatch.setattr("edgeferry.files.sqlite.BUSY_SECONDS", 0.05)
    store = store_in(tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="end the other program"):
            await store.start()
        other.execute("ROLLBACK")
        assert format_of(tmp_path) == 1
    await store.start()
    assert len(await all_history(store, device, "v")) == 3
    await store.stop()
