"""What is refused; positions; the life cycle."""

import pytest

from edgeferry.core.errors import Never, Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import Position
from edgeferry.store.values import MAX_VALUE_BYTES
from tests.unit.store.bench import DEVICE, STAMP, Bench, T, write


class RefusalBehaviour:
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
