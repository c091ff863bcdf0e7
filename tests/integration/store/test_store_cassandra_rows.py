"""What only Cassandra can get wrong: bytes, batches, slots, partitions, caches."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from cassandra import ConsistencyLevel
from cassandra.cluster import Session
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable, StoreUnusable, Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.merge import FUTURE_LIMIT_MS, LATEST_SLOTS
from edgeferry.core.node import TimeseriesWrite
from edgeferry.runtime.settings import CassandraSettings
from edgeferry.store.cassandra import CassandraStore
from edgeferry.store.cassandra_cache import NO_TS, NOTHING_STORED, Entity
from edgeferry.store.cassandra_plan import Plan, Planner, Target
from edgeferry.store.cassandra_rows import VALUE_COLUMNS, RawRowsHandler, batch_of
from edgeferry.store.cassandra_session import CassandraSession, Tuning
from edgeferry.store.cassandra_statements import WriteStatements, insert_cql
from edgeferry.store.partitions import windows
from edgeferry.store.seal import KEY_FILE, Seal
from tests.integration.store.cassandra_bench import CassandraBench, Counted
from tests.unit.store.bench import DEVICE, FAR, STAMP, T, all_history, write

Open = Callable[..., Any]


@pytest_asyncio.fixture
async def open_bench(
    shared_settings: CassandraSettings, cql: Session, key_folder: Path
) -> AsyncIterator[Open]:
    opened: list[CassandraBench] = []

    async def make(tuning: Tuning | None = None, **changes: Any) -> CassandraBench:
        settings = shared_settings.model_copy(update=changes)
        bench = CassandraBench(settings, cql, key_folder, tuning)
        opened.append(bench)
        await bench.store.start()
        return bench

    yield make
    for bench in opened:
        await bench.store.stop()


def _bytes_of(batch: BatchStatement, handler: type[ProtocolHandler]) -> Any:
    message = BatchMessage(
        batch.batch_type,
        batch._statements_and_parameters,
        ConsistencyLevel.LOCAL_QUORUM,
        None,
        1234567,
    )
    return handler.encode_message(message, 7, 5, None, False)


KEY = ("entity_type", "entity_id", "key")
VALUES: list[Value] = [True, "tëxt", -5, 2.25, {"a": [1]}]
STORED: list[Any] = [True, "tëxt", -5, 2.25, '{"a":[1]}']


@pytest.mark.asyncio
async def test_encoded_rows_are_what_the_driver_writes(open_bench: Open, cql: Session) -> None:
    bench = await open_bench()
    cql.set_keyspace(bench.keyspace)
    session = CassandraSession(
        options=bench.settings, clock=bench.clock, metrics=Counted(), tuning=Tuning()
    )
    planner, plan = Planner(WriteStatements(session)), Plan()
    await session.start()
    device = new_entity_id()
    place = (DEVICE, UUID(device))
    partition = windows("MONTHS")(T).start
    entity = Entity((DEVICE, device))
    plain = BatchStatement(batch_type=BatchType.UNLOGGED)

    def add(table: str, columns: tuple[str, ...], using: str, *cells: Any) -> None:
        plain.add(cql.prepare(insert_cql(table, columns, using)), cells)

    writes = []
    for i, (value, stored) in enumerate(zip(VALUES, STORED, strict=True)):
        key = f"key{i}"
        entity.add_history(partition, key, NO_TS, NO_TS, False)
        entity.add_latest(key, NOTHING_STORED)
        row = (*KEY, "partition", "ts", VALUE_COLUMNS[i])
        cells = (*place, key, partition)
        # a new ts, the same again with a greater stamp, and both with a time to live
        add("ts_kv_cf", row, "USING TIMESTAMP ?", *cells, T, stored, STAMP)
        every = (*KEY, "partition", "ts", *VALUE_COLUMNS)
        nulls = [stored if column == i else None for column in range(5)]
        add("ts_kv_cf", every, "USING TIMESTAMP ?", *cells, T, *nulls, STAMP + 1)
        aging = "USING TIMESTAMP ? AND TTL ?"
        add("ts_kv_cf", row, aging, *cells, T + 1, stored, STAMP + 2, 60)
        add("ts_kv_cf", every, aging, *cells, T + 1, *nulls, STAMP + 3, 60)
        for stamp in range(4):
            ttl = 0 if stamp < 2 else 60
            values = {key: value}
            writes.append(
                TimeseriesWrite(DEVICE, device, T + stamp // 2, STAMP + stamp, values, ttl)
            )
    for i in range(5):
        add("ts_kv_partitions_cf", (*KEY, "partition"), "", *place, f"key{i}", partition)
    for i, stored in enumerate(STORED):
        nulls = [stored if column == i else None for column in range(5)]
        columns = (*KEY, "ts", *VALUE_COLUMNS)
        row_cells = (*place, f"key{i}", T + 1, *nulls, (T + 1) * 1000)
        add("ts_kv_latest_cf", columns, "USING TIMESTAMP ?", *row_cells)

    target = Target(entity, partition, entity.partitions[partition])
    planner.plan(plan, writes, [target] * len(writes), T)
    raw = batch_of(planner.rows(plan))
    await session.stop()
    assert _bytes_of(raw, RawRowsHandler) == _bytes_of(plain, ProtocolHandler)


@pytest.mark.asyncio
async def test_a_refused_size_is_split_and_remembered(open_bench: Open) -> None:
    bench = await open_bench(Tuning(batch_bytes=64 * 1024 * 1024, least_rows=512))
    devices = [new_entity_id() for _ in range(40)]
    text = "x" * 100_000
    writes = [write(device, T, STAMP + i, v=text) for i, device in enumerate(devices)]
    await bench.store.timeseries.save(writes)
    for device in devices:
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, text)]
    assert max(size for _, size in bench.metrics.batches) < 1_100_000
    refused = bench.metrics.refused
    assert refused > 0
    await bench.store.timeseries.save(
        [w._replace(ts=w.ts + 100, stamp=w.stamp + 100) for w in writes]
    )
    assert bench.metrics.refused == refused


@pytest.mark.asyncio
async def test_batches_are_cut_by_rows(open_bench: Open) -> None:
    bench = await open_bench(Tuning(batch_rows=100, least_rows=100))
    devices = [new_entity_id() for _ in range(3)]
    await bench.store.timeseries.save(
        [write(devices[i % 3], T + i, STAMP + i, v=i) for i in range(450)]
    )
    assert sorted(rows for rows, _ in bench.metrics.batches) == [56, 100, 100, 100, 100]


@pytest.mark.asyncio
async def test_few_rows_are_spread_over_batches_side_by_side(open_bench: Open) -> None:
    bench = await open_bench(Tuning(batches_in_flight=4, least_rows=8))
    device = new_entity_id()
    await bench.store.timeseries.save([write(device, T + i, STAMP + i, v=i) for i in range(38)])
    assert [rows for rows, _ in bench.metrics.batches] == [10, 10, 10, 10]


@pytest.mark.asyncio
async def test_a_millisecond_takes_no_more_writes_than_latest_can_tell_apart(
    open_bench: Open,
) -> None:
    bench = await open_bench()
    device = new_entity_id()
    for i in range(LATEST_SLOTS + 3):
        value: Value = i if i % 2 else float(i)
        await bench.store.timeseries.save([write(device, T, STAMP + i, v=value)])
    last = LATEST_SLOTS + 2
    assert await all_history(bench.store, device, "v") == [TsEntry("v", T, last)]
    latest = await bench.store.timeseries.latest(DEVICE, device)
    assert latest == [TsEntry("v", T, LATEST_SLOTS - 1)]
    assert bench.metrics.full == 3
    await bench.store.timeseries.save([write(device, T + 1, STAMP + 2000, v="next")])
    assert await bench.latest_columns(device, "v") == ["str_v"]


@pytest.mark.parametrize("name", ["MINUTES", "HOURS", "DAYS", "YEARS", "INDEFINITE"])
@pytest.mark.asyncio
async def test_every_partitioning_reads_what_it_wrote(open_bench: Open, name: str) -> None:
    bench = await open_bench(ts_partitioning=name)
    device = new_entity_id()
    times = [0, 59_999, 60_000, T - 40 * 86_400_000, T - 3_600_000, T - 60_000, T, T + 1]
    await bench.store.timeseries.save(
        [write(device, ts, STAMP + i, v=ts) for i, ts in enumerate(times)]
    )
    assert [e.ts for e in await all_history(bench.store, device, "v")] == times
    newest = await bench.store.timeseries.history(DEVICE, device, "v", 0, FAR, 3, "DESC")
    assert [e.ts for e in newest] == times[:-4:-1]


@pytest.mark.asyncio
async def test_a_cache_too_small_for_the_entities_changes_nothing(open_bench: Open) -> None:
    bench = await open_bench(Tuning(cached_keys=10))
    devices = [new_entity_id() for _ in range(20)]

    async def save(stamp: int, value: Value) -> None:
        await bench.store.timeseries.save([write(d, T, STAMP + stamp, v=value) for d in devices])

    await asyncio.gather(save(1, 1), save(5, 5.5), save(3, "lower"))
    for device in devices:
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 5.5)]
        assert await bench.history_columns(device, "v", T) == ["dbl_v"]
        assert await bench.latest_columns(device, "v") == ["dbl_v"]


@pytest.mark.asyncio
async def test_values_too_far_ahead_are_counted(open_bench: Open) -> None:
    bench = await open_bench()
    ahead = bench.clock.now_ms() + FUTURE_LIMIT_MS + 1
    await bench.store.timeseries.save([write(new_entity_id(), ahead, STAMP, a=1, b=2)])
    assert bench.metrics.future == 2


@pytest.mark.asyncio
async def test_history_with_a_time_to_live_goes_and_latest_stays(open_bench: Open) -> None:
    bench = await open_bench()
    device = new_entity_id()
    await bench.store.timeseries.save([write(device, ttl=1, v=1)])
    await bench.age(1)
    assert await all_history(bench.store, device, "v") == []
    assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 1)]


@pytest.mark.asyncio
async def test_a_time_to_live_past_the_server_is_refused_for_good(open_bench: Open) -> None:
    bench = await open_bench()
    device = new_entity_id()
    with pytest.raises(Unstorable, match="ttl"):
        await bench.store.timeseries.save([write(device, ttl=15 * 365 * 86_400, v=1)])
    await bench.store.timeseries.save([write(device, v=2)])
    assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 2)]


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_named(
    shared_settings: CassandraSettings, key_folder: Path
) -> None:
    nowhere = shared_settings.model_copy(update={"contact_points": ("127.0.0.1:1",)})
    store = CassandraStore(
        settings=nowhere, seal=Seal(key_folder / KEY_FILE), clock=ManualClock(), metrics=Counted()
    )
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
        await store.start()
    with pytest.raises(StoreUnavailable):
        await store.ping()
    with pytest.raises(StoreUnavailable):
        await store.timeseries.latest(DEVICE, new_entity_id())
    await store.stop()


@pytest.mark.asyncio
async def test_a_keyspace_that_cannot_be_is_for_the_operator(
    shared_settings: CassandraSettings, key_folder: Path
) -> None:
    wrong = shared_settings.model_copy(update={"keyspace": "no good name"})
    store = CassandraStore(
        settings=wrong, seal=Seal(key_folder / KEY_FILE), clock=ManualClock(), metrics=Counted()
    )
    with pytest.raises(StoreUnusable, match="check the settings"):
        await store.start()
    await store.stop()
