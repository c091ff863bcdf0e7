"""What every store must do: one suite, run against SQLite and Cassandra."""

import asyncio
import random
from collections.abc import Sequence
from typing import Protocol

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import Never, Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry, Value
from edgeferry.core.merge import FUTURE_LIMIT_MS
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.store import Position, Store
from edgeferry.store.values import MAX_VALUE_BYTES

T = 1_700_000_000_000
STAMP = T * 1000
FAR = 2**62
DEVICE = "DEVICE"


class Bench(Protocol):
    """A started store, and ways to look behind it."""

    store: Store
    clock: ManualClock

    async def reopen(self) -> None:
        """A fresh store object on the same data."""
        ...

    async def history_columns(self, entity_id: str, key: str, ts: int) -> list[str]:
        """Names of the value columns that are set in the stored row; empty without a row."""
        ...

    async def latest_columns(self, entity_id: str, key: str) -> list[str]: ...


def write(
    entity_id: str,
    ts: int = T,
    stamp: int = STAMP,
    ttl: int = 0,
    history: bool = True,
    latest: bool = True,
    **values: Value,
) -> TimeseriesWrite:
    return TimeseriesWrite(DEVICE, entity_id, ts, stamp, values, ttl, history, latest)


async def all_history(store: Store, entity_id: str, key: str) -> Sequence[TsEntry]:
    return await store.timeseries.history(DEVICE, entity_id, key, 0, FAR, 100_000, "ASC")


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


def any_order(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class StoreBehaviour:
    """Subclasses give a fixture ``bench``."""

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

    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ({"v": 2**63}, "64"),
            ({"v": -(2**63) - 1}, "64"),
            ({"v": 10**400}, "64"),
            ({"v": float("nan")}, "finite"),
            ({"v": float("inf")}, "finite"),
            ({"v": [float("nan")]}, "JSON"),
            ({"v": "x" * (MAX_VALUE_BYTES + 1)}, "limit"),
            ({"v": "half \ud800"}, "Unicode"),
            ({"": 1}, "key"),
            ({"k" * 40_000: 1}, "limit"),
        ],
    )
    @pytest.mark.asyncio
    async def test_a_value_that_no_store_takes_is_refused_by_its_index(
        self, bench: Bench, bad: dict[str, Value], reason: str
    ) -> None:
        device = new_entity_id()
        writes = [write(device, v=1), TimeseriesWrite(DEVICE, device, T + 1, STAMP + 1, bad)]
        with pytest.raises(Unstorable, match=reason) as refused:
            await bench.store.timeseries.save(writes)
        assert refused.value.index == 1
        assert isinstance(refused.value, Never)
        assert await bench.history_columns(device, "v", T) == []
        await bench.store.timeseries.save(writes[:1])
        assert await bench.store.timeseries.latest(DEVICE, device) == [TsEntry("v", T, 1)]

    @pytest.mark.parametrize(
        "bad",
        [
            {"entity_id": "no-uuid"},
            {"entity_id": "5f0c5a3c-1111-4222-8333-444455556666"},
            {"entity_id": "8F1C6A10-5B1E-11F0-8000-0242AC120002"},
            {"ts": -1},
            {"ts": 2**60},
            {"stamp": -1},
            {"stamp": 2**63},
            {"ttl": -1},
            {"ttl": 2**31},
        ],
    )
    @pytest.mark.asyncio
    async def test_an_impossible_write_is_refused_by_its_index(
        self, bench: Bench, bad: dict[str, int | str]
    ) -> None:
        good = write(new_entity_id(), v=1)
        with pytest.raises(Unstorable) as refused:
            await bench.store.timeseries.save([good, good._replace(**bad)])  # type: ignore[arg-type]
        assert refused.value.index == 1

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

    @pytest.mark.asyncio
    async def test_attributes_are_kept_by_scope_and_key(self, bench: Bench) -> None:
        device = new_entity_id()
        save, read = bench.store.attributes.save, bench.store.attributes.attributes
        values: dict[str, Value] = {"b": 1, "a": "x"}
        await save([AttributesWrite(DEVICE, device, Scope.SERVER, values, T, STAMP, "cloud")])
        await save([AttributesWrite(DEVICE, device, Scope.SHARED, {"a": 2.5}, T, STAMP)])
        assert [tuple(e) for e in await read(DEVICE, device, Scope.SERVER)] == [
            ("a", "x", T, STAMP),
            ("b", 1, T, STAMP),
        ]
        found = await read(DEVICE, device, Scope.SHARED, ["a", "b"])
        assert [tuple(e) for e in found] == [("a", 2.5, T, STAMP)]
        assert list(await read(DEVICE, device, Scope.CLIENT)) == []

    @pytest.mark.asyncio
    async def test_the_greater_attribute_version_stays_in_any_order(self, bench: Bench) -> None:
        versions: list[tuple[int, str, Value]] = [
            (1, "edge", 10),
            (3, "cloud", "x"),
            (3, "edge", 2.5),
            (2, "zebra", True),
        ]
        for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 1, 0, 3]):
            device = new_entity_id()
            writes = [
                AttributesWrite(
                    DEVICE, device, Scope.SHARED, {"v": value}, T + n, STAMP + n, origin
                )
                for n, origin, value in (versions[i] for i in order)
            ]
            await bench.store.attributes.save(writes[:2])
            for one in writes[2:]:
                await bench.store.attributes.save([one])
            await bench.store.attributes.save(writes)
            found = await bench.store.attributes.attributes(DEVICE, device, Scope.SHARED)
            assert [tuple(e) for e in found] == [("v", 2.5, T + 3, STAMP + 3)]

    @pytest.mark.asyncio
    async def test_a_bad_attribute_is_refused_by_its_index(self, bench: Bench) -> None:
        device = new_entity_id()
        good = AttributesWrite(DEVICE, device, Scope.SERVER, {"v": 1}, T, STAMP)
        with pytest.raises(Unstorable) as refused:
            await bench.store.attributes.save([good, good._replace(values={"w": 2**63})])
        assert refused.value.index == 1
        assert list(await bench.store.attributes.attributes(DEVICE, device, Scope.SERVER)) == []
        await bench.store.attributes.save([])

    @pytest.mark.asyncio
    async def test_a_position_is_kept_and_replaced(self, bench: Bench) -> None:
        stream = f"edge-{new_entity_id()}"
        positions = bench.store.positions
        assert await positions.load(stream) is None
        await positions.save(stream, Position(1, 500, "first", '{"a": 1}'))
        await positions.save(stream, Position(2, 7, "second"))
        assert await positions.load(stream) == Position(2, 7, "second", "")
        bench.clock.advance(-3600)
        await positions.save(stream, Position(2, 8, "second"))
        await bench.reopen()
        bench.clock.advance(-3600)
        await bench.store.positions.save(stream, Position(2, 9, "second"))
        assert await bench.store.positions.load(stream) == Position(2, 9, "second")

    @pytest.mark.asyncio
    async def test_ping_answers(self, bench: Bench) -> None:
        await bench.store.ping()
