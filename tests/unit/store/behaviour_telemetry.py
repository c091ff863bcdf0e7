"""Saving and reading time series."""

import asyncio
import random

import pytest

from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry, Value
from edgeferry.core.merge import FUTURE_LIMIT_MS
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from tests.unit.store.bench import DEVICE, FAR, STAMP, Bench, T, all_history, write

VALUES: list[Value] = [
    True,
    False,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    0.0,
    1.0,
    -20.25,
    0.1 + 0.2,
    1.7976931348623157e308,
    5e-324,
    "",
    "text",
    "ünïcödé 漢字 🚀 \u0000 end",
    "x" * 100_000,
    [],
    {},
    [1, "two", None, {"three": [3.5, True]}],
    {"a": {"b": {"c": "ü"}}, "n": 12345678901234567890123},
]


class TelemetryBehaviour:
    @pytest.mark.asyncio
    async def test_saved_values_are_read_as_latest_and_history(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, counter=7, temperature=20.5, on=True)])
        latest = await bench.store.timeseries.latest(DEVICE, device)
        assert list(latest) == [
            TsEntry("counter", T, 7),
            TsEntry("on", T, True),
            TsEntry("temperature", T, 20.5),
        ]
        assert await all_history(bench.store, device, "counter") == [TsEntry("counter", T, 7)]

    @pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:24])
    @pytest.mark.asyncio
    async def test_every_value_comes_back_with_its_type(self, bench: Bench, value: Value) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, v=value)])
        await bench.store.attributes.save(
            [AttributesWrite(DEVICE, device, Scope.SERVER, {"v": value}, T, STAMP)]
        )
        found: list[Value] = [
            (await bench.store.timeseries.latest(DEVICE, device))[0].value,
            (await all_history(bench.store, device, "v"))[0].value,
            (await bench.store.attributes.attributes(DEVICE, device, Scope.SERVER))[0].value,
        ]
        assert found == [value] * 3
        assert [type(one) for one in found] == [type(value)] * 3

    @pytest.mark.asyncio
    async def test_doubles_come_back_to_the_last_bit(self, bench: Bench) -> None:
        device = new_entity_id()
        rng = random.Random(1)
        values = [rng.uniform(-1, 1) * 10.0 ** rng.randint(-300, 300) for _ in range(2000)]
        await bench.store.timeseries.save(
            [write(device, T + i, STAMP + i, v=value) for i, value in enumerate(values)]
        )
        entries = await all_history(bench.store, device, "v")
        assert [entry.value for entry in entries] == values

    @pytest.mark.asyncio
    async def test_a_text_that_looks_like_a_number_stays_a_text(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, a="1", b="1.50", c="true", d="[1]")])
        latest = await bench.store.timeseries.latest(DEVICE, device)
        assert [entry.value for entry in latest] == ["1", "1.50", "true", "[1]"]

    @pytest.mark.asyncio
    async def test_latest_of_some_keys_gives_those_that_have_one(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, a=1, b=2, c=3)])
        latest = await bench.store.timeseries.latest(DEVICE, device, ["c", "a", "none", "a"])
        assert [entry.key for entry in latest] == ["a", "c"]
        assert list(await bench.store.timeseries.latest(DEVICE, device, [])) == []

    @pytest.mark.asyncio
    async def test_an_unknown_entity_has_nothing(self, bench: Bench) -> None:
        for entity_id in (new_entity_id(), "no-uuid"):
            assert list(await bench.store.timeseries.latest(DEVICE, entity_id)) == []
            assert list(await bench.store.timeseries.keys(DEVICE, entity_id)) == []
            assert list(await all_history(bench.store, entity_id, "v")) == []
            found = await bench.store.attributes.attributes(DEVICE, entity_id, Scope.SERVER)
            assert list(found) == []

    @pytest.mark.asyncio
    async def test_history_only_leaves_latest_without_a_row(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, latest=False, v=1)])
        assert await bench.latest_columns(device, "v") == []
        assert list(await bench.store.timeseries.keys(DEVICE, device)) == []
        assert await all_history(bench.store, device, "v") == [TsEntry("v", T, 1)]

    @pytest.mark.asyncio
    async def test_latest_only_leaves_history_without_a_row(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, history=False, v=1)])
        await bench.store.timeseries.save([write(device, T, STAMP + 1, history=False, v=2.5)])
        assert await bench.history_columns(device, "v", T) == []
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 2.5)]

    @pytest.mark.asyncio
    async def test_neither_history_nor_latest_stores_nothing(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, history=False, latest=False, v=1)])
        assert await bench.history_columns(device, "v", T) == []
        assert await bench.latest_columns(device, "v") == []
        await bench.store.timeseries.save([])
        await bench.store.timeseries.save([write(device)])

    @pytest.mark.asyncio
    async def test_a_ts_far_ahead_goes_to_history_only(self, bench: Bench) -> None:
        device = new_entity_id()
        ahead = bench.clock.now_ms() + FUTURE_LIMIT_MS + 1
        await bench.store.timeseries.save([write(device, ahead, STAMP, v=1)])
        assert await bench.latest_columns(device, "v") == []
        await bench.store.timeseries.save([write(device, ahead - 1, STAMP + 1, v=2)])
        latest = await bench.store.timeseries.latest(DEVICE, device)
        assert latest == [TsEntry("v", ahead - 1, 2)]
        assert len(await all_history(bench.store, device, "v")) == 2

    @pytest.mark.asyncio
    async def test_a_range_holds_its_start_and_not_its_end(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, T + i, STAMP + i, v=i) for i in range(10)])
        history = bench.store.timeseries.history

        async def values(start: int, end: int, limit: int, order: str) -> list[Value]:
            entries = await history(DEVICE, device, "v", start, end, limit, order)  # type: ignore[arg-type]
            return [entry.value for entry in entries]

        assert await values(T + 2, T + 5, 100, "ASC") == [2, 3, 4]
        assert await values(T + 2, T + 5, 100, "DESC") == [4, 3, 2]
        assert await values(T, T + 10, 3, "ASC") == [0, 1, 2]
        assert await values(T, T + 10, 3, "DESC") == [9, 8, 7]
        assert await values(T + 5, T + 5, 100, "ASC") == []
        assert await values(T, T + 10, 0, "ASC") == []
        assert await values(-FAR, FAR, FAR, "DESC") == list(range(9, -1, -1))

    @pytest.mark.asyncio
    async def test_a_range_runs_over_month_boundaries_in_order(self, bench: Bench) -> None:
        device = new_entity_id()
        day = 86_400_000
        start = 1_690_000_000_000
        times = [start + i * 9 * day for i in range(12)]
        shuffled = random.Random(3).sample(times, len(times))
        await bench.store.timeseries.save(
            [write(device, ts, STAMP + i, v=ts) for i, ts in enumerate(shuffled)]
        )
        assert [e.ts for e in await all_history(bench.store, device, "v")] == times
        newest = await bench.store.timeseries.history(DEVICE, device, "v", 0, FAR, 7, "DESC")
        assert [e.ts for e in newest] == times[:-8:-1]
        latest = await bench.store.timeseries.latest(DEVICE, device)
        assert latest == [TsEntry("v", times[-1], times[-1])]

    @pytest.mark.asyncio
    async def test_entities_and_keys_do_not_mix(self, bench: Bench) -> None:
        one, two = new_entity_id(), new_entity_id()
        await bench.store.timeseries.save([write(one, v=1), write(two, v=2), write(one, w=3)])
        asset = write(one, v=4)._replace(entity_type="ASSET")
        await bench.store.timeseries.save([asset])
        assert await bench.store.timeseries.latest(DEVICE, one) == [
            TsEntry("v", T, 1),
            TsEntry("w", T, 3),
        ]
        assert await bench.store.timeseries.latest(DEVICE, two) == [TsEntry("v", T, 2)]
        assert await bench.store.timeseries.latest("ASSET", one) == [TsEntry("v", T, 4)]

    @pytest.mark.asyncio
    async def test_many_keys_of_one_entity(self, bench: Bench) -> None:
        device = new_entity_id()
        names = [f"key {i:04}" for i in range(1000)]
        values: dict[str, Value] = {name: i for i, name in enumerate(names)}
        await bench.store.timeseries.save([TimeseriesWrite(DEVICE, device, T, STAMP, values)])
        assert list(await bench.store.timeseries.keys(DEVICE, device)) == names
        latest = await bench.store.timeseries.latest(DEVICE, device, names[500:510])
        assert [entry.value for entry in latest] == list(range(500, 510))

    @pytest.mark.asyncio
    async def test_a_large_batch_over_many_entities_is_stored_whole(self, bench: Bench) -> None:
        devices = [new_entity_id() for _ in range(40)]
        writes = [
            write(devices[i % 40], T + i // 40, STAMP + i, a=i, b=i / 2, c=f"text {i}" * 10)
            for i in range(2000)
        ]
        await bench.store.timeseries.save(writes)
        for device in devices[::13]:
            for key in ("a", "b", "c"):
                assert len(await all_history(bench.store, device, key)) == 50
        latest = await bench.store.timeseries.latest(DEVICE, devices[39])
        assert [e.value for e in latest] == [1999, 999.5, "text 1999" * 10]

    @pytest.mark.asyncio
    async def test_large_values_are_stored(self, bench: Bench) -> None:
        device = new_entity_id()
        texts = [letter * 700_000 for letter in "abc"]
        await bench.store.timeseries.save(
            [write(device, T + i, STAMP + i, v=text) for i, text in enumerate(texts)]
        )
        assert [e.value for e in await all_history(bench.store, device, "v")] == texts

    @pytest.mark.asyncio
    async def test_saves_side_by_side_are_all_stored(self, bench: Bench) -> None:
        devices = [new_entity_id() for _ in range(5)]
        saves = [
            [write(device, T + i, STAMP + i, v=i, w=i / 2) for device in devices] for i in range(40)
        ]
        await asyncio.gather(*(bench.store.timeseries.save(one) for one in saves))
        for device in devices:
            entries = await all_history(bench.store, device, "v")
            assert [entry.value for entry in entries] == list(range(40))
            latest = await bench.store.timeseries.latest(DEVICE, device, ["v"])
            assert latest == [TsEntry("v", T + 39, 39)]

    @pytest.mark.asyncio
    async def test_data_outlives_the_store_object(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, v=1, w="x")])
        await bench.reopen()
        await bench.store.timeseries.save([write(device, T + 1, STAMP + 1, v=2, z=True)])
        latest = await bench.store.timeseries.latest(DEVICE, device)
        assert [(e.key, e.value) for e in latest] == [("v", 2), ("w", "x"), ("z", True)]
        assert [e.value for e in await all_history(bench.store, device, "v")] == [1, 2]
