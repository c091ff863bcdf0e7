"""Values over steps of time: what stands in a step, whatever its kinds."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st

from edgeferry.core.aggregation import (
    Aggregation,
    Calendar,
    Step,
    calendar_steps,
    fixed_steps,
)
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.node import TimeseriesWrite
from tests.unit.store.bench import DEVICE, STAMP, Bench, T, all_history, write

MIN, MAX, AVG, SUM, COUNT = Aggregation
DAY = 86_400_000


async def values_of(
    bench: Bench, device: str, steps: Sequence[Step], aggregation: Aggregation
) -> list[tuple[int, Value]]:
    entries = await bench.store.timeseries.aggregate(DEVICE, device, "v", steps, aggregation)
    assert all(entry.key == "v" for entry in entries)
    return [(entry.ts, entry.value) for entry in entries]


async def saved(bench: Bench, *values: Value, ts: int = T, apart: int = 1000) -> str:
    device = new_entity_id()
    await bench.store.timeseries.save(
        [write(device, ts + i * apart, STAMP + i, v=value) for i, value in enumerate(values)]
    )
    return device


class AggregateBehaviour:
    @pytest.mark.asyncio
    async def test_a_point_stands_at_the_middle_of_its_step(self, bench: Bench) -> None:
        device = await saved(bench, *range(10))
        steps = fixed_steps(T, T + 10_000, 4000)
        assert await values_of(bench, device, steps, SUM) == [
            (T + 2000, 0 + 1 + 2 + 3),
            (T + 6000, 4 + 5 + 6 + 7),
            (T + 9000, 8 + 9),
        ]

    @pytest.mark.asyncio
    async def test_a_step_without_values_gives_no_point(self, bench: Bench) -> None:
        device = await saved(bench, 1, 2, 3, apart=5000)
        steps = fixed_steps(T, T + 15_000, 1000)
        for aggregation in Aggregation:
            found = await values_of(bench, device, steps, aggregation)
            assert [ts for ts, _ in found] == [T + 500, T + 5500, T + 10_500]
        assert await values_of(bench, device, [Step(T + 1, T + 5000)], COUNT) == []
        assert await values_of(bench, new_entity_id(), steps, COUNT) == []
        assert await values_of(bench, "no-uuid", steps, COUNT) == []
        assert await values_of(bench, device, [], COUNT) == []

    @pytest.mark.parametrize(
        ("values", "results"),
        [
            ([3, 1, 2], {MIN: 1, MAX: 3, AVG: 2.0, SUM: 6, COUNT: 3}),
            ([3, 1, 1], {AVG: 5 / 3}),
            ([2.5, 1.0], {MIN: 1.0, MAX: 2.5, AVG: 1.75, SUM: 3.5, COUNT: 2}),
            ([2, 1.5, 4], {MIN: 1.5, MAX: 4.0, AVG: 2.5, SUM: 7.5, COUNT: 3}),
            ([7], {MIN: 7, MAX: 7, AVG: 7.0, SUM: 7, COUNT: 1}),
            ([0, 0.0], {MIN: 0.0, MAX: 0.0, AVG: 0.0, SUM: 0.0, COUNT: 2}),
            ([True, False, True], {MIN: False, MAX: True, AVG: None, SUM: None, COUNT: 3}),
            (["b", "ä", "a"], {MIN: "a", MAX: "ä", AVG: None, SUM: None, COUNT: 3}),
            ([{"a": 1}, {"a": 2}, [1]], {MIN: [1], MAX: {"a": 2}, AVG: None, SUM: None, COUNT: 3}),
            (["text", 5, True, [1]], {MIN: 5, MAX: 5, AVG: 5.0, SUM: 5, COUNT: 4}),
            (["text", False, {}], {MIN: False, MAX: False, SUM: None, COUNT: 3}),
            ([2**63 - 1, 2**63 - 1, 2], {SUM: float(2**64), MAX: 2**63 - 1}),
            ([2**63 - 1, -(2**63)], {SUM: -1, AVG: -0.5, MIN: -(2**63)}),
            ([1e308, 1e308], {SUM: None, AVG: None, MAX: 1e308}),
            ([0.1 + 0.2], {SUM: 0.1 + 0.2, MIN: 0.1 + 0.2}),
        ],
        ids=lambda case: repr(case)[:40] if isinstance(case, list) else "",
    )
    @pytest.mark.asyncio
    async def test_kinds_keep_their_rules(
        self, bench: Bench, values: list[Value], results: dict[Aggregation, Value | None]
    ) -> None:
        device = await saved(bench, *values)
        for aggregation, expected in results.items():
            found = await values_of(bench, device, [Step(T, T + 60_000)], aggregation)
            assert [(type(value), value) for _, value in found] == (
                [] if expected is None else [(type(expected), expected)]
            )

    @pytest.mark.asyncio
    async def test_steps_run_over_many_partitions(self, bench: Bench) -> None:
        start = 1_690_000_000_000
        device = await saved(bench, *range(120), ts=start, apart=DAY)
        whole = [Step(start, start + 120 * DAY)]
        middle = start + 60 * DAY
        assert await values_of(bench, device, whole, SUM) == [(middle, sum(range(120)))]
        assert await values_of(bench, device, whole, COUNT) == [(middle, 120)]
        assert await values_of(bench, device, whole, MAX) == [(middle, 119)]
        found = await values_of(bench, device, fixed_steps(start, start + 120 * DAY, DAY), MIN)
        assert found == [(start + i * DAY + DAY // 2, i) for i in range(120)]

    @pytest.mark.asyncio
    async def test_months_are_steps_of_their_own_length(self, bench: Bench) -> None:
        start = round(datetime(2023, 1, 15, tzinfo=UTC).timestamp() * 1000)
        device = await saved(bench, *[1] * 59, ts=start, apart=DAY)
        steps = calendar_steps(start, start + 59 * DAY, Calendar.MONTH, UTC)
        assert [value for _, value in await values_of(bench, device, steps, COUNT)] == [17, 28, 14]

    @pytest.mark.asyncio
    async def test_steps_may_reach_far_beyond_the_data(self, bench: Bench) -> None:
        device = await saved(bench, 1, 2)
        end = 2**63 - 1
        found = await values_of(bench, device, [Step(0, end)], SUM)
        assert found == [(end // 2, 3)]

    @pytest.mark.asyncio
    async def test_values_that_aged_out_do_not_count(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.timeseries.save([write(device, T, STAMP, v=1)])
        await bench.store.timeseries.save([write(device, T + 1, STAMP + 1, ttl=1, v=2)])
        await bench.age(1)
        assert await values_of(bench, device, [Step(T, T + 1000)], SUM) == [(T + 500, 1)]

    async def check_model(self, bench: Bench, data: st.DataObject) -> None:
        """Subclasses make a hypothesis test of it."""
        device = new_entity_id()
        value = st.one_of(
            st.integers(-(2**63), 2**63 - 1),
            st.integers(-5, 5),
            st.floats(-1e6, 1e6),
            st.booleans(),
            st.text(max_size=3),
            st.lists(st.integers(0, 9), max_size=2),
        )
        times = st.integers(0, 20_000)
        points = data.draw(st.dictionaries(times, value, min_size=1, max_size=12))
        await bench.store.timeseries.save(
            [
                TimeseriesWrite(DEVICE, device, T + ts, STAMP + i, {"v": one})
                for i, (ts, one) in enumerate(points.items())
            ]
        )
        begin, length = data.draw(times), data.draw(st.integers(1, 20_000))
        steps = fixed_steps(T + begin, T + begin + length, data.draw(st.integers(1, 9_000)))
        history = await all_history(bench.store, device, "v")
        for aggregation in Aggregation:
            found = await values_of(bench, device, steps, aggregation)
            expected = [
                (step.middle, result)
                for step in steps
                if (result := _model(aggregation, _within(history, step))) is not None
            ]
            assert [ts for ts, _ in found] == [ts for ts, _ in expected]
            for (_, got), (_, wanted) in zip(found, expected, strict=True):
                assert type(got) is type(wanted)
                assert got == (pytest.approx(wanted) if type(wanted) is float else wanted)


def _within(history: Sequence[TsEntry], step: Step) -> list[Value]:
    return [entry.value for entry in history if step.start <= entry.ts < step.end]


def _model(aggregation: Aggregation, values: list[Value]) -> Value | None:
    """The rules, plainly."""
    if aggregation is COUNT:
        return len(values) or None
    longs = [value for value in values if type(value) is int]
    doubles = [value for value in values if type(value) is float]
    if aggregation in (SUM, AVG):
        if not longs and not doubles:
            return None
        if aggregation is AVG:
            return (sum(longs) + sum(doubles)) / (len(longs) + len(doubles))
        if doubles:
            return float(sum(longs) + sum(doubles))
        return sum(longs) if -(2**63) <= sum(longs) < 2**63 else float(sum(longs))
    pick = min if aggregation is MIN else max
    if doubles:
        return float(pick([*map(float, longs), *doubles]))
    for kind in (int, bool, str):
        some = [value for value in values if type(value) is kind]
        if some:
            picked: Value = pick(some)
            return picked
    texts = [json.dumps(value, separators=(",", ":")) for value in values]
    document: Value | None = json.loads(pick(texts)) if texts else None
    return document
