"""Which of two writes wins, whatever the order they come in."""

from collections.abc import Sequence

import pytest
from hypothesis import strategies as st

from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.node import TimeseriesWrite
from tests.unit.store.bench import DEVICE, STAMP, Bench, T, all_history, write


class MergeBehaviour:
    @pytest.mark.asyncio
    async def test_late_telemetry_leaves_latest_untouched(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, T, STAMP, v=1)])
        await bench.store.timeseries.save([write(device, T - 1000, STAMP + 5, v=2.5)])
        bench.store.timeseries.ownership_changed()
        await bench.store.timeseries.save([write(device, T - 2000, STAMP + 6, v="late")])
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 1)]
        assert await bench.latest_columns(device, "v") == ["long_v"]
        assert [e.value for e in await all_history(bench.store, device, "v")] == ["late", 2.5, 1]

    @pytest.mark.asyncio
    async def test_newest_of_a_batch_becomes_latest_whatever_its_place(self, bench: Bench) -> None:
        device = new_entity_id()
        order = [3, 5, 1, 4, 2]
        await bench.store.timeseries.save([write(device, T + i, STAMP + i, v=i) for i in order])
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T + 5, 5)]

    @pytest.mark.asyncio
    async def test_a_type_change_leaves_one_value_in_latest(self, bench: Bench) -> None:
        device = new_entity_id()
        values: list[Value] = [1, 2.5, "three", True, {"five": 5}, 6]
        columns = ["long_v", "dbl_v", "str_v", "bool_v", "json_v", "long_v"]
        for i, (value, column) in enumerate(zip(values, columns, strict=True)):
            await bench.store.timeseries.save([write(device, T + i, STAMP + i, v=value)])
            latest = await bench.store.timeseries.latest(DEVICE, device)
            assert latest == [TsEntry("v", T + i, value)]
            assert await bench.latest_columns(device, "v") == [column]

    @pytest.mark.parametrize("forget", ["no", "ownership", "reopen"])
    @pytest.mark.asyncio
    async def test_a_correction_of_the_same_ts_wins_by_its_stamp(
        self, bench: Bench, forget: str
    ) -> None:
        device = new_entity_id()

        async def save(stamp: int, value: Value) -> None:
            await bench.store.timeseries.save([write(device, T, STAMP + stamp, v=value)])
            if forget == "ownership":
                bench.store.timeseries.ownership_changed()
            elif forget == "reopen":
                await bench.reopen()

        for stamp, value in ((10, 20), (20, 20.5), (15, "lower"), (20, 20.5), (10, 20)):
            await save(stamp, value)
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 20.5)]
        assert await all_history(bench.store, device, "v") == [TsEntry("v", T, 20.5)]
        assert await bench.history_columns(device, "v", T) == ["dbl_v"]
        assert await bench.latest_columns(device, "v") == ["dbl_v"]
        await save(30, "text")
        await save(25, True)
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, "text")]
        assert await bench.history_columns(device, "v", T) == ["str_v"]
        assert await bench.latest_columns(device, "v") == ["str_v"]

    @pytest.mark.asyncio
    async def test_a_lower_stamp_that_comes_later_leaves_no_second_column(
        self, bench: Bench
    ) -> None:
        device = new_entity_id()
        saves = bench.store.timeseries.save
        await saves([write(device, T, STAMP + 9, v=1.5)])
        await saves([write(device, T, STAMP + 3, v=7)])
        await saves([write(device, T + 1, STAMP + 8, v=1.5), write(device, T + 1, STAMP + 2, v=7)])
        await saves([write(device, T + 2, STAMP + 1, v=7), write(device, T + 2, STAMP + 4, v=1.5)])
        for ts in (T, T + 1, T + 2):
            assert await bench.history_columns(device, "v", ts) == ["dbl_v"]

    @pytest.mark.asyncio
    async def test_repeating_a_save_changes_nothing(self, bench: Bench) -> None:
        device = new_entity_id()
        writes = [write(device, T + i % 7, STAMP + i, v=i, w=float(i)) for i in range(30)]
        await bench.store.timeseries.save(writes)
        before = await all_history(bench.store, device, "v")
        latest = await bench.store.timeseries.latest(DEVICE, device)
        for start in (0, 10, 29):
            await bench.store.timeseries.save(writes[start:])
            bench.store.timeseries.ownership_changed()
        assert await all_history(bench.store, device, "v") == before
        assert await bench.store.timeseries.latest(DEVICE, device) == latest

    async def check_any_order(self, bench: Bench, data: st.DataObject) -> None:
        """Subclasses make a hypothesis test of it, with as many examples as they can pay."""
        device = new_entity_id()
        value = st.one_of(st.booleans(), st.integers(0, 3), st.floats(0, 1), st.text(max_size=2))
        made = data.draw(
            st.lists(
                st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 9), value),
                min_size=1,
                max_size=10,
                unique_by=lambda one: (one[0], one[2]),
            )
        )
        arrivals = data.draw(st.permutations(made)) + data.draw(
            st.lists(st.sampled_from(made), max_size=5)
        )
        store = bench.store
        position = 0
        while position < len(arrivals):
            size = data.draw(st.integers(1, 4))
            batch = arrivals[position : position + size]
            position += size
            await store.timeseries.save(
                [
                    TimeseriesWrite(DEVICE, device, T + ts, STAMP + stamp, {key: v})
                    for key, ts, stamp, v in batch
                ]
            )
            if data.draw(st.booleans()):
                store.timeseries.ownership_changed()
        await self._check_merged(bench, device, made)

    async def _check_merged(
        self, bench: Bench, device: str, made: Sequence[tuple[str, int, int, Value]]
    ) -> None:
        for key in sorted({one[0] for one in made}):
            rows: dict[int, tuple[int, Value]] = {}
            for _, ts, stamp, value in (one for one in made if one[0] == key):
                if ts not in rows or stamp > rows[ts][0]:
                    rows[ts] = (stamp, value)
            expected = [TsEntry(key, T + ts, rows[ts][1]) for ts in sorted(rows)]
            assert await all_history(bench.store, device, key) == expected
            latest = await bench.store.timeseries.latest(DEVICE, device, [key])
            assert latest == expected[-1:]
            for entry in expected:
                assert len(await bench.history_columns(device, key, entry.ts)) == 1
            assert len(await bench.latest_columns(device, key)) == 1
