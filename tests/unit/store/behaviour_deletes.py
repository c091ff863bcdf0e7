"""Deleting time series: what goes, what stays, and what does not come back."""

import asyncio

import pytest
from hypothesis import strategies as st

from edgeferry.core.errors import Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import DeletedKey, TimeseriesDelete
from tests.unit.store.bench import DEVICE, STAMP, Bench, T, all_history, write

LATER = STAMP + 1_000_000
"""A stamp above those of the values."""


def deletion(
    device: str,
    start: int = 0,
    end: int = MAX_TS_MS,
    stamp: int = LATER,
    keys: tuple[str, ...] = ("v",),
    latest: bool = True,
    rewrite: bool = False,
) -> TimeseriesDelete:
    return TimeseriesDelete(DEVICE, device, keys, start, end, stamp, latest, rewrite)


async def device_with(bench: Bench, *values: Value) -> str:
    """Values of the key v, a millisecond apart."""
    device = new_entity_id()
    await bench.store.timeseries.save(
        [write(device, T + i, STAMP + i, v=value) for i, value in enumerate(values)]
    )
    return device


async def left(bench: Bench, device: str, key: str = "v") -> list[Value]:
    return [entry.value for entry in await all_history(bench.store, device, key)]


async def latest(bench: Bench, device: str) -> list[TsEntry]:
    return list(await bench.store.timeseries.latest(DEVICE, device))


class DeleteBehaviour:
    @pytest.mark.asyncio
    async def test_a_range_goes_with_its_start_and_without_its_end(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1, 2, 3, 4)
        answer = await bench.store.timeseries.delete(deletion(device, T + 1, T + 3))
        assert await left(bench, device) == [0, 3, 4]
        assert await latest(bench, device) == [TsEntry("v", T + 4, 4)]
        assert list(answer) == [DeletedKey("v", False, None)]

    @pytest.mark.asyncio
    async def test_only_the_keys_named_go(self, bench: Bench) -> None:
        device, other = new_entity_id(), new_entity_id()
        for one in (device, other):
            await bench.store.timeseries.save([write(one, a=1, b=2, c=3)])
        await bench.store.timeseries.delete(deletion(device, keys=("c", "none", "a")))
        assert [entry.key for entry in await latest(bench, device)] == ["b"]
        assert await bench.store.timeseries.keys(DEVICE, device) == ["b"]
        assert [await left(bench, device, key) for key in "abc"] == [[], [2], []]
        assert len(await latest(bench, other)) == 3

    @pytest.mark.parametrize(
        ("start", "end", "gone"),
        [(T + 1, T + 9, True), (T + 2, T + 9, False), (T, T + 2, True), (T, T + 1, False)],
    )
    @pytest.mark.asyncio
    async def test_latest_goes_when_it_is_after_the_start_and_not_after_the_end(
        self, bench: Bench, start: int, end: int, gone: bool
    ) -> None:
        device = await device_with(bench, 0, 1, 2)
        answer = await bench.store.timeseries.delete(deletion(device, start, end))
        assert [key.latest_gone for key in answer] == [gone]
        assert len(await latest(bench, device)) == (0 if gone else 1)
        assert list(await bench.store.timeseries.keys(DEVICE, device)) == ([] if gone else ["v"])

    @pytest.mark.asyncio
    async def test_latest_stays_when_it_is_not_asked_for(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1)
        answer = await bench.store.timeseries.delete(deletion(device, latest=False, rewrite=True))
        assert await left(bench, device) == []
        assert await latest(bench, device) == [TsEntry("v", T + 1, 1)]
        assert list(answer) == [DeletedKey("v", False, None)]

    @pytest.mark.asyncio
    async def test_the_newest_value_before_the_range_becomes_latest(self, bench: Bench) -> None:
        device = new_entity_id()
        values: list[Value] = [0, 1.5, "two", True, {"four": 4}, 5]
        await bench.store.timeseries.save(
            [write(device, T + 10 * i, STAMP + i, v=value) for i, value in enumerate(values)]
        )
        columns = ["json_v", "bool_v", "str_v", "dbl_v", "long_v"]
        for i, column in zip(range(4, -1, -1), columns, strict=True):
            before = TsEntry("v", T + 10 * i, values[i])
            answer = await bench.store.timeseries.delete(
                deletion(device, before.ts + 5, T + 99, rewrite=True)
            )
            assert list(answer) == [DeletedKey("v", True, before)]
            assert await latest(bench, device) == [before]
            assert await bench.latest_columns(device, "v") == [column]

    @pytest.mark.asyncio
    async def test_the_value_right_before_the_start_is_passed_over(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1, 2, 3)
        answer = await bench.store.timeseries.delete(deletion(device, T + 2, T + 9, rewrite=True))
        assert list(answer) == [DeletedKey("v", True, TsEntry("v", T, 0))]
        assert await latest(bench, device) == [TsEntry("v", T, 0)]
        assert await left(bench, device) == [0, 1]

    @pytest.mark.asyncio
    async def test_with_nothing_before_the_range_the_key_is_gone(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1)
        answer = await bench.store.timeseries.delete(deletion(device, T - 9, T + 9, rewrite=True))
        assert list(answer) == [DeletedKey("v", True, None)]
        assert await latest(bench, device) == []
        assert list(await bench.store.timeseries.keys(DEVICE, device)) == []

    @pytest.mark.asyncio
    async def test_a_delete_of_nothing_is_no_error(self, bench: Bench) -> None:
        device = new_entity_id()
        answer = await bench.store.timeseries.delete(deletion(device))
        assert list(answer) == [DeletedKey("v", False, None)]
        assert list(await bench.store.timeseries.delete(deletion(device, keys=()))) == []

    @pytest.mark.asyncio
    async def test_repeating_a_delete_changes_nothing(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1, 2, 3)
        once = deletion(device, T + 2, T + 9, rewrite=True)
        for _ in range(3):
            await bench.store.timeseries.delete(once)
            await bench.reopen()
        assert await left(bench, device) == [0, 1]
        assert await latest(bench, device) == [TsEntry("v", T, 0)]

    @pytest.mark.asyncio
    async def test_a_range_over_many_months_goes_whole(self, bench: Bench) -> None:
        device = new_entity_id()
        start, day = 1_690_000_000_000, 86_400_000
        await bench.store.timeseries.save(
            [write(device, start + i * day, STAMP + i, v=i) for i in range(100)]
        )
        await bench.store.timeseries.delete(
            deletion(device, start + 5 * day, start + 95 * day, rewrite=True)
        )
        assert await left(bench, device) == [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]

    @pytest.mark.parametrize("forget", ["no", "ownership", "reopen"])
    @pytest.mark.asyncio
    async def test_values_saved_after_a_delete_stand(self, bench: Bench, forget: str) -> None:
        device = await device_with(bench, 0, 1, 2)
        await bench.store.timeseries.delete(deletion(device))
        if forget == "ownership":
            bench.store.timeseries.ownership_changed()
        elif forget == "reopen":
            await bench.reopen()
        # older than what was deleted, the same ts again, and newer; each of another type
        values: list[Value] = ["one", 2.5, True]
        for i, value in enumerate(values):
            await bench.store.timeseries.save([write(device, T + 1 + i, LATER + 1 + i, v=value)])
            assert await latest(bench, device) == [TsEntry("v", T + 1 + i, value)]
            assert len(await bench.latest_columns(device, "v")) == 1
        assert await left(bench, device) == values
        await bench.store.timeseries.save([write(device, T, LATER + 9, v="late")])
        assert await latest(bench, device) == [TsEntry("v", T + 3, True)]

    @pytest.mark.parametrize("forget", ["no", "ownership", "reopen"])
    @pytest.mark.asyncio
    async def test_a_rewritten_latest_is_followed_by_what_is_newer_than_it(
        self, bench: Bench, forget: str
    ) -> None:
        device = await device_with(bench, 0, 1, 2, 3, 4, 5)
        await bench.store.timeseries.delete(deletion(device, T + 2, T + 9, rewrite=True))
        if forget == "ownership":
            bench.store.timeseries.ownership_changed()
        elif forget == "reopen":
            await bench.reopen()
        save = bench.store.timeseries.save
        await save([write(device, T - 1, LATER + 1, v="older")])
        assert await latest(bench, device) == [TsEntry("v", T, 0)]
        await save([write(device, T, LATER + 2, v="corrected")])
        assert await latest(bench, device) == [TsEntry("v", T, "corrected")]
        await save([write(device, T + 3, LATER + 3, v=3.5)])
        assert await latest(bench, device) == [TsEntry("v", T + 3, 3.5)]
        await save([write(device, T + 9, LATER + 4, v=9)])
        await save([write(device, T + 8, LATER + 5, v=8)])
        assert await latest(bench, device) == [TsEntry("v", T + 9, 9)]
        assert await bench.latest_columns(device, "v") == ["long_v"]

    @pytest.mark.asyncio
    async def test_what_was_written_after_the_delete_was_asked_stays(self, bench: Bench) -> None:
        device = await device_with(bench, 0, 1)
        await bench.store.timeseries.save([write(device, T + 2, LATER + 1, v="newer")])
        answer = await bench.store.timeseries.delete(deletion(device))
        assert list(answer) == [DeletedKey("v", False, None)]
        assert await left(bench, device) == ["newer"]
        assert await latest(bench, device) == [TsEntry("v", T + 2, "newer")]

    @pytest.mark.asyncio
    async def test_all_that_is_stored_goes_when_asked_whatever_its_stamp(
        self, bench: Bench
    ) -> None:
        device = new_entity_id()
        ahead: list[Value] = [0, 1.5, "two", 3, 4]
        await bench.store.timeseries.save(
            [write(device, T + i, LATER + 100 + i, v=value) for i, value in enumerate(ahead)]
        )
        delete = deletion(device, T + 1, T + 9, stamp=STAMP, rewrite=True)._replace(all_stored=True)
        await bench.store.timeseries.delete(delete._replace(keys=("v", "none")))
        assert await left(bench, device) == [0]
        await bench.store.timeseries.save([write(device, T + 3, LATER + 104, v="late")])
        assert await left(bench, device) == [0]
        await bench.store.timeseries.save([write(device, T + 3, LATER + 105, v="new")])
        assert await left(bench, device) == [0, "new"]
        assert await latest(bench, device) == [TsEntry("v", T + 3, "new")]

    @pytest.mark.parametrize("forget", ["no", "ownership", "reopen"])
    @pytest.mark.asyncio
    async def test_a_late_write_does_not_bring_back_what_was_deleted(
        self, bench: Bench, forget: str
    ) -> None:
        device = await device_with(bench, 0, 1, 2)
        await bench.store.timeseries.delete(deletion(device, T + 1, T + 100))
        if forget == "ownership":
            bench.store.timeseries.ownership_changed()
        elif forget == "reopen":
            await bench.reopen()
        late = [write(device, T + i, STAMP + i, v=i) for i in range(10)]
        await bench.store.timeseries.save(late)
        assert await left(bench, device) == [0]
        # T itself was not deleted, and is latest now that what followed it is gone
        assert await latest(bench, device) == [TsEntry("v", T, 0)]
        await bench.store.timeseries.save([write(device, T + 5, LATER + 1, v="new")])
        assert await left(bench, device) == [0, "new"]
        assert await latest(bench, device) == [TsEntry("v", T + 5, "new")]

    @pytest.mark.asyncio
    async def test_a_delete_before_any_value_keeps_late_ones_out(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.delete(deletion(device))
        await bench.store.timeseries.save([write(device, v=1, other=2)])
        assert await left(bench, device) == []
        assert await latest(bench, device) == [TsEntry("other", T, 2)]

    @pytest.mark.asyncio
    async def test_everything_of_an_entity_goes(self, bench: Bench) -> None:
        device, other = new_entity_id(), new_entity_id()
        values: dict[str, Value] = {f"k{i}": i for i in range(300)}
        for one in (device, other):
            await bench.store.timeseries.save([TimeseriesWrite(DEVICE, one, T, STAMP, values)])
        await bench.store.timeseries.delete_entity(DEVICE, device, LATER)
        assert await latest(bench, device) == []
        assert await left(bench, device, "k7") == []
        assert len(await latest(bench, other)) == 300
        await bench.reopen()
        await bench.store.timeseries.save(
            [write(device, k7=7), write(device, stamp=LATER + 1, n=1)]
        )
        assert await latest(bench, device) == [TsEntry("n", T, 1)]
        await bench.store.timeseries.delete_entity(DEVICE, new_entity_id(), LATER)

    @pytest.mark.asyncio
    async def test_saves_and_deletes_side_by_side_end_by_their_stamps(self, bench: Bench) -> None:
        devices = [new_entity_id() for _ in range(4)]

        async def save(i: int) -> None:
            await bench.store.timeseries.save(
                [write(device, T + i, STAMP + i, v=i) for device in devices]
            )

        async def delete(device: str) -> None:
            await bench.store.timeseries.delete(deletion(device, T - 9, T + 99, STAMP + 20))

        await asyncio.gather(
            *(save(i) for i in range(20)),
            *(delete(device) for device in devices),
            *(save(i) for i in range(20, 40)),
        )
        for device in devices:
            assert await left(bench, device) == list(range(21, 40))
            assert await latest(bench, device) == [TsEntry("v", T + 39, 39)]

    @pytest.mark.parametrize(
        "bad", [{"entity_id": "no-uuid"}, {"keys": ("",)}, {"stamp": -5}, {"end_ts": 2**70}]
    )
    @pytest.mark.asyncio
    async def test_an_impossible_delete_is_refused(
        self, bench: Bench, bad: dict[str, object]
    ) -> None:
        device = await device_with(bench, 0, 1)
        with pytest.raises(Unstorable):
            await bench.store.timeseries.delete(deletion(device)._replace(**bad))  # type: ignore[arg-type]
        assert await left(bench, device) == [0, 1]

    async def check_history_and_deletes_in_any_order(
        self, bench: Bench, data: st.DataObject
    ) -> None:
        """Whatever the order of arrival, history ends the same: what no delete of a greater
        stamp covers."""
        device = new_entity_id()
        number = st.integers(0, 6)
        saves = data.draw(
            st.lists(st.tuples(number, st.integers(0, 20)), max_size=8, unique_by=lambda s: s[1])
        )
        deletes = data.draw(st.lists(st.tuples(number, number, st.integers(0, 20)), max_size=4))
        arrivals = data.draw(st.permutations([*saves, *deletes]))
        for one in arrivals:
            if len(one) == 2:
                await bench.store.timeseries.save(
                    [write(device, T + one[0], STAMP + one[1], v=one[1])]
                )
            else:
                await bench.store.timeseries.delete(
                    deletion(device, T + one[0], T + one[1], STAMP + one[2])
                )
            if data.draw(st.booleans()):
                bench.store.timeseries.ownership_changed()
        expected: dict[int, int] = {}
        for ts, stamp in saves:
            covered = any(start <= ts < end and stamp <= s for start, end, s in deletes)
            if not covered and stamp >= expected.get(ts, -1):
                expected[ts] = stamp
        found = await all_history(bench.store, device, "v")
        assert [(entry.ts - T, entry.value) for entry in found] == sorted(expected.items())
