"""A store copied into another one: every row, once, whatever happens on the way."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.changes import RpcStatus
from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import Stop, StoreUnavailable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.store import (
    Credentials,
    EdgeEventRow,
    Entity,
    QueueEnds,
    Rpc,
    RpcNews,
    Store,
    TimeseriesDelete,
    VersionedAttribute,
)
from edgeferry.store.metrics import NoMetrics
from edgeferry.store.sqlite import FILE, SqliteStore
from edgeferry.store.sqlite_rows import PAGE_ROWS, SqliteRows
from edgeferry.store.sqlite_schema import SCHEMA
from edgeferry.tools.move_store import compare_store, copy_store, count_store

DEVICE = new_entity_id()
EDGE = new_entity_id()
NOW_MS = 1_700_000_000_000
VALUES: dict[str, Value] = {
    "bool": True, "long": -5, "double": 0.1 + 0.2, "whole": 2.0, "text": "1", "json": {"a": [1.0]},
}  # fmt: skip


PUMP = Entity(
    "DEVICE", DEVICE, "tenant", "pump", "default", 5, 3, "cloud", "left", '{"a": 1}', "e1"
)
RPC = Rpc(new_entity_id(), "tenant", DEVICE, RpcStatus.SENT, "{}", "", 5, 6, "e2")


def queued(offset: int) -> EdgeEventRow:
    return EdgeEventRow(
        EDGE, "edge-events", "topic/0", offset, 5, "ADDED", "DEVICE", "DEVICE", DEVICE,
        f"u{offset}", "00-a", "cloud", b"\0value",
    )  # fmt: skip


def write(ts: int, stamp: int = 1, **values: Value) -> TimeseriesWrite:
    return TimeseriesWrite("DEVICE", DEVICE, ts, stamp, values)


@asynccontextmanager
async def opened(folder: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(folder=folder, clock=clock, metrics=NoMetrics())
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest_asyncio.fixture
async def source(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "source", clock) as store:
        yield store


@pytest_asyncio.fixture
async def target(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "target", clock) as store:
        yield store


class World:
    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.clock = clock
        self.rows = SqliteRows(folder / "source" / FILE)
        self.progress = folder / "progress.json"
        self.said: dict[str, int] = {}

    async def copy(self, target: Store) -> None:
        await copy_store(
            rows=self.rows, target=target, progress=self.progress, clock=self.clock, say=self._say
        )

    def _say(self, table: str, count: int) -> None:
        self.said[table] = self.said.get(table, 0) + count

    async def compare(self, target: Store) -> dict[str, int]:
        return dict(await compare_store(rows=self.rows, target=target, clock=self.clock))


@pytest.fixture
def world(tmp_path: Path, clock: ManualClock) -> World:
    return World(tmp_path, clock)


async def fill(store: SqliteStore) -> None:
    await store.timeseries.save(
        [TimeseriesWrite("DEVICE", DEVICE, NOW_MS - n, 1, VALUES) for n in range(3)]
    )
    await store.timeseries.save([write(NOW_MS - 9, expiring=1)._replace(ttl=3600)])
    await store.timeseries.save([write(NOW_MS, only_latest=1)._replace(history=False)])
    await store.attributes.save(
        [AttributesWrite("DEVICE", DEVICE, scope, VALUES, 7, 8, "edge") for scope in Scope]
    )
    await store.entities.save_entities([PUMP, PUMP._replace(entity_id=EDGE, deleted=True)])
    await store.entities.save_credentials(
        Credentials("DEVICE", DEVICE, '{"credentialsId": "token"}', 4, "edge", "e3")
    )
    await store.entities.assign(("DEVICE", DEVICE), EDGE)
    await store.rpcs.create(RPC)
    await store.edge_events.append([queued(offset) for offset in range(4)])
    await store.edge_events.drop(EDGE, "edge-events", 1)


@pytest.mark.asyncio
async def test_a_site_goes_on_with_its_devices_commands_and_edges(
    world: World, source: SqliteStore, target: SqliteStore
) -> None:
    await fill(source)
    await world.copy(target)
    await world.copy(target)
    await world.compare(target)
    assert await target.entities.with_token("token") == ("DEVICE", DEVICE)
    assert await target.entities.named("tenant", "DEVICE", "pump") == PUMP
    await target.edge_events.append([queued(3), queued(4)])
    assert await target.edge_events.ends(EDGE, "edge-events") == QueueEnds(1, 5)


@pytest.mark.asyncio
async def test_every_kind_of_value_comes_over(
    world: World, source: SqliteStore, target: SqliteStore
) -> None:
    await fill(source)
    await world.copy(target)
    counts = await world.compare(target)
    assert counts == {
        "history": 19, "latest": 8, "attributes": 18, "entities": 2, "credentials": 1,
        "assignments": 1, "commands": 1, "edge events": 3,
    }  # fmt: skip
    assert counts == await count_store(world.rows, world.clock)
    assert await source.timeseries.latest("DEVICE", DEVICE) == await target.timeseries.latest(
        "DEVICE", DEVICE
    )


@pytest.mark.asyncio
async def test_an_older_attribute_meets_what_was_deleted_before_the_move(
    world: World, source: SqliteStore, target: SqliteStore
) -> None:
    gone = VersionedAttribute("DEVICE", DEVICE, Scope.SERVER, "gone", None, 7, 8, "edge")
    await source.attributes.apply([gone])
    await world.copy(target)
    assert (await world.compare(target))["attributes"] == 1
    await target.attributes.apply([gone._replace(value="back", version=7)])
    assert not await target.attributes.attributes("DEVICE", DEVICE, Scope.SERVER)


@pytest.mark.asyncio
async def test_time_to_live_goes_on(world: World, source: SqliteStore, target: SqliteStore) -> None:
    await source.timeseries.save([write(5, short=1)._replace(ttl=100)])
    world.clock.advance(40)
    await world.copy(target)
    world.clock.advance(59)
    assert await target.timeseries.history("DEVICE", DEVICE, "short", 0, 10, 10)
    assert (await world.compare(target))["history"] == 1
    world.clock.advance(3)
    assert not await target.timeseries.history("DEVICE", DEVICE, "short", 0, 10, 10)
    assert (await world.compare(target))["history"] == 0


@pytest.mark.asyncio
async def test_a_late_write_meets_what_was_deleted_before_the_move(
    world: World, source: SqliteStore, target: SqliteStore
) -> None:
    await source.timeseries.save([write(10, stamp=world.clock.now_ms() * 1000, gone=1)])
    stamp = world.clock.now_ms() * 1000 + 1
    await source.timeseries.delete(TimeseriesDelete("DEVICE", DEVICE, ["gone"], 0, 20, stamp))
    await world.copy(target)
    await target.timeseries.save([write(11, stamp=stamp - 1, gone=2)])
    assert not await target.timeseries.history("DEVICE", DEVICE, "gone", 0, 20, 10)
    await target.timeseries.save([write(11, stamp=stamp + 1, gone=3)])
    assert await target.timeseries.history("DEVICE", DEVICE, "gone", 0, 20, 10)


class Failing:
    """A store's time series that fail after some saves."""

    def __init__(self, store: SqliteStore, saves: int) -> None:
        self._store = store
        self._left = saves

    def __getattr__(self, name: str) -> object:
        return getattr(self._store.timeseries if name != "timeseries" else self, name)

    @property
    def attributes(self) -> object:
        return self._store.attributes

    @property
    def timeseries(self) -> "Failing":
        return self

    async def save(self, writes: Sequence[TimeseriesWrite]) -> None:
        if not self._left:
            raise StoreUnavailable("killed here")
        self._left -= 1
        await self._store.timeseries.save(writes)


@pytest.mark.asyncio
async def test_a_copy_that_was_cut_off_goes_on_where_it_was(
    world: World, source: SqliteStore, target: SqliteStore
) -> None:
    await source.timeseries.save([write(n, a=n, b=-n) for n in range(PAGE_ROWS)])
    with pytest.raises(StoreUnavailable):
        await world.copy(Failing(target, 1))  # type: ignore[arg-type]
    assert world.said == {"history": PAGE_ROWS}
    with pytest.raises(Stop, match=r"key '[ab]' at 0"):
        await world.compare(target)
    await world.copy(target)
    assert world.said == {"history": 2 * PAGE_ROWS, "latest": 2}
    assert (await world.compare(target))["history"] == 2 * PAGE_ROWS


CHANGES: dict[str, Callable[[SqliteStore], object]] = {
    "key 'long' at 1700000000000": lambda store: store.timeseries.save(
        [write(NOW_MS, stamp=2, long=-6)._replace(latest=False)]
    ),
    "key 'whole' at": lambda store: store.timeseries.save(
        [write(NOW_MS, stamp=2, whole=2)._replace(latest=False)]
    ),
    "key 'text' at 1600000000000": lambda store: store.timeseries.save(
        [write(1_600_000_000_000, text="more")._replace(latest=False)]
    ),
    "latest: key 'bool'": lambda store: store.timeseries.save(
        [write(NOW_MS + 1, bool=True)._replace(history=False)]
    ),
    "attributes: key 'text' of SERVER_SCOPE": lambda store: store.attributes.save(
        [AttributesWrite("DEVICE", DEVICE, Scope.SERVER, {"text": "2"}, 9, 9, "edge")]
    ),
    "entities: DEVICE": lambda store: store.entities.save_entities(
        [PUMP._replace(label="right", version=4)]
    ),
    "credentials: DEVICE": lambda store: store.entities.save_credentials(
        Credentials("DEVICE", DEVICE, "{}", 5, "edge")
    ),
    "assignments: DEVICE": lambda store: store.entities.unassign(("DEVICE", DEVICE), EDGE),
    f"commands: {RPC.rpc_id}": lambda store: store.rpcs.advance(
        RpcNews(RPC.rpc_id, RPC.device_id, RpcStatus.DELIVERED, "", 7, "e3")
    ),
    "edge events: 1 of edge-events": lambda store: store.edge_events.drop(EDGE, "edge-events", 2),
    "edge events: the head": lambda store: store.edge_events.append([queued(9)]),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "problem", CHANGES, ids=[problem.replace(RPC.rpc_id, "one") for problem in CHANGES]
)
async def test_a_difference_is_found_and_named(
    world: World, source: SqliteStore, target: SqliteStore, problem: str
) -> None:
    await fill(source)
    await world.copy(target)
    await CHANGES[problem](target)  # type: ignore[misc]
    with pytest.raises(Stop, match=problem):
        await world.compare(target)


def test_no_table_of_a_store_is_forgotten() -> None:
    tables = set(re.findall(r"CREATE TABLE (\w+)", SCHEMA))
    copied = {"deletes", "history", "latest", "attributes", "positions"}
    copied |= {"known_entities", "credentials", "assignments", "rpcs"}
    copied |= {"edge_events", "edge_event_heads"}
    follow = {"entities", "keys", "rpc_ends"}
    assert tables == copied | follow, "sqlite_rows and move_store copy each table"
