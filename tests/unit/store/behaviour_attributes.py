"""Attributes: by scope and key, the greater version stays."""

import pytest

from edgeferry.core.errors import Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite
from tests.unit.store.bench import DEVICE, STAMP, Bench, T


class AttributesBehaviour:
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
