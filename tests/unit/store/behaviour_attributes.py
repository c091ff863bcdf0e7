"""Attributes: by scope and key, the greater version stays."""

import pytest
from hypothesis import strategies as st

from edgeferry.core.errors import Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import (
    DECISIONS_KEPT,
    Decision,
    Outcome,
    PastDecision,
    VersionedAttribute,
)
from tests.unit.store.bench import DEVICE, STAMP, Bench, T


def change(
    device: str,
    value: Value | None,
    version: int,
    origin: str = "cloud",
    event_id: str = "",
    key: str = "v",
) -> VersionedAttribute:
    return VersionedAttribute(
        DEVICE, device, Scope.SHARED, key, value, T, version, origin, event_id
    )


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

    @pytest.mark.asyncio
    async def test_a_change_is_applied_lost_or_the_same(self, bench: Bench) -> None:
        device = new_entity_id()
        changes = [
            change(device, 1, 5, "edge"),
            change(device, 2.5, 4, "cloud"),
            change(device, "x", 5, "edge"),
            change(device, "y", 5, "zebra"),
            change(device, None, 6, "cloud"),
            change(device, 7, 6, "another"),
        ]
        decisions = await bench.store.attributes.apply(changes)
        assert list(decisions) == [
            Decision(Outcome.APPLIED, 5, "edge"),
            Decision(Outcome.LOST, 5, "edge"),
            Decision(Outcome.SAME, 5, "edge"),
            Decision(Outcome.APPLIED, 5, "zebra"),
            Decision(Outcome.APPLIED, 6, "cloud"),
            Decision(Outcome.LOST, 6, "cloud"),
        ]
        assert list(await bench.store.attributes.attributes(DEVICE, device, Scope.SHARED)) == []
        (found,) = await bench.store.attributes.standing(DEVICE, device, Scope.SHARED)
        assert found == change(device, None, 6, "cloud", event_id="")
        assert await bench.store.attributes.apply([]) == []

    @pytest.mark.parametrize("reopened", [False, True])
    @pytest.mark.asyncio
    async def test_a_deleted_attribute_comes_back_with_a_greater_version_only(
        self, bench: Bench, reopened: bool
    ) -> None:
        device = new_entity_id()

        async def value(made: VersionedAttribute) -> Value | None:
            await bench.store.attributes.apply([made])
            if reopened:
                await bench.reopen()
            found = await bench.store.attributes.attributes(DEVICE, device, Scope.SHARED, ["v"])
            return found[0].value if found else None

        assert await value(change(device, "a", 10)) == "a"
        assert await value(change(device, None, 20)) is None
        assert await value(change(device, "late", 15)) is None
        assert await value(change(device, {"back": 1}, 21)) == {"back": 1}
        assert await value(change(device, None, 20)) == {"back": 1}
        assert await value(change(device, True, 30)) is True

    @pytest.mark.asyncio
    async def test_a_save_and_a_change_merge_by_version(self, bench: Bench) -> None:
        device = new_entity_id()

        async def save(value: Value, version: int) -> None:
            write = AttributesWrite(DEVICE, device, Scope.SHARED, {"v": value}, T, version)
            await bench.store.attributes.save([write])

        async def value() -> list[Value]:
            found = await bench.store.attributes.attributes(DEVICE, device, Scope.SHARED)
            return [entry.value for entry in found]

        await save(1, STAMP)
        await bench.store.attributes.apply([change(device, None, STAMP + 2)])
        assert await value() == []
        await save("late", STAMP + 1)
        assert await value() == []
        await save(2.5, STAMP + 3)
        assert await value() == [2.5]
        lost, *_ = await bench.store.attributes.apply([change(device, "late", STAMP + 2, "a")])
        assert lost.outcome is Outcome.LOST
        await save("newest", STAMP + 4)
        assert await value() == ["newest"]

    @pytest.mark.asyncio
    async def test_what_was_decided_is_kept_with_the_attribute(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.attributes.apply([change(device, 1, 5, "edge", "event 1")])
        bench.clock.advance(2)
        late = [change(device, None, 4, "cloud", "event 2"), change(device, None, 9, "cloud")]
        for _ in range(3):
            await bench.store.attributes.apply(late)
            await bench.reopen()
        now = bench.clock.now_ms()
        found = await bench.store.attributes.decisions(DEVICE, device, Scope.SHARED, "v")
        assert list(found) == [
            PastDecision(5, "edge", Outcome.APPLIED, now - 2000, T, False, "event 1"),
            PastDecision(4, "cloud", Outcome.LOST, now, T, True, "event 2"),
            PastDecision(9, "cloud", Outcome.APPLIED, now, T, True, ""),
        ]
        none = await bench.store.attributes.decisions(DEVICE, device, Scope.SHARED, "none")
        assert list(none) == []
        assert list(await bench.store.attributes.decisions(DEVICE, "x", Scope.SHARED, "v")) == []

    @pytest.mark.asyncio
    async def test_of_many_decisions_the_last_ones_are_kept(self, bench: Bench) -> None:
        device = new_entity_id()
        await bench.store.attributes.apply([change(device, i, i) for i in range(50)])
        await bench.store.attributes.apply([change(device, "lost", i, "0") for i in range(5)])
        found = await bench.store.attributes.decisions(DEVICE, device, Scope.SHARED, "v")
        assert len(found) == DECISIONS_KEPT
        assert [one.version for one in found] == [*range(35, 50), *range(5)]

    @pytest.mark.asyncio
    async def test_many_changes_of_many_entities_at_once(self, bench: Bench) -> None:
        devices = [new_entity_id() for _ in range(30)]
        changes = [
            change(device, i, STAMP + i, key=f"k{i % 40}") for device in devices for i in range(80)
        ]
        decisions = await bench.store.attributes.apply(changes)
        assert {one.outcome for one in decisions} == {Outcome.APPLIED}
        found = await bench.store.attributes.standing(DEVICE, devices[7], Scope.SHARED, ["k3"])
        assert [one.value for one in found] == [43]
        found = await bench.store.attributes.standing(DEVICE, devices[29], Scope.SHARED)
        assert len(found) == 40

    @pytest.mark.asyncio
    async def test_the_attributes_of_an_entity_go_altogether(self, bench: Bench) -> None:
        device, other = new_entity_id(), new_entity_id()
        for one in (device, other):
            for scope in Scope:
                await bench.store.attributes.apply([change(one, 1, 5)._replace(scope=scope)])
        await bench.store.attributes.apply([change(device, "lost", 3)])
        await bench.store.attributes.delete_entity(DEVICE, device)
        for scope in Scope:
            assert list(await bench.store.attributes.standing(DEVICE, device, scope)) == []
            assert len(await bench.store.attributes.standing(DEVICE, other, scope)) == 1
        found = await bench.store.attributes.decisions(DEVICE, device, Scope.SHARED, "v")
        assert list(found) == []
        await bench.store.attributes.delete_entity(DEVICE, new_entity_id())
        await bench.store.attributes.apply([change(device, "again", STAMP)])
        assert len(await bench.store.attributes.attributes(DEVICE, device, Scope.SHARED)) == 1

    @pytest.mark.parametrize(
        "bad",
        [
            {"entity_id": "no-uuid"},
            {"key": ""},
            {"value": 2**63},
            {"version": -1},
            {"version": 2**63},
            {"origin": "half \ud800"},
        ],
    )
    @pytest.mark.asyncio
    async def test_an_impossible_change_is_refused_by_its_index(
        self, bench: Bench, bad: dict[str, object]
    ) -> None:
        device = new_entity_id()
        good = change(device, 1, 5)
        with pytest.raises(Unstorable) as refused:
            await bench.store.attributes.apply([good, good._replace(**bad)])  # type: ignore[arg-type]
        assert refused.value.index == 1
        assert list(await bench.store.attributes.standing(DEVICE, device, Scope.SHARED)) == []

    async def check_changes_in_any_order(self, bench: Bench, data: st.DataObject) -> None:
        """Saves, changes and deletes end the same whatever their order and repeats."""
        device = new_entity_id()
        value = st.none() | st.integers(0, 3) | st.floats(0, 1) | st.text(max_size=2)
        made = data.draw(
            st.lists(
                st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from("xy"), value),
                min_size=1,
                max_size=10,
                unique_by=lambda one: one[:3],
            )
        )
        arrivals = data.draw(st.permutations(made)) + data.draw(
            st.lists(st.sampled_from(made), max_size=5)
        )
        while arrivals:
            size = data.draw(st.integers(1, 4))
            batch, arrivals = arrivals[:size], arrivals[size:]
            if data.draw(st.booleans()):
                writes = [
                    AttributesWrite(DEVICE, device, Scope.SHARED, {key: v}, T, version, origin)
                    for key, version, origin, v in batch
                    if v is not None
                ]
                await bench.store.attributes.save(writes)
                batch = [one for one in batch if one[3] is None]
            await bench.store.attributes.apply(
                [change(device, v, version, origin, key=key) for key, version, origin, v in batch]
            )
        found = await bench.store.attributes.standing(DEVICE, device, Scope.SHARED)
        assert [(one.key, one.version, one.origin, one.value) for one in found] == [
            max((one for one in made if one[0] == key), key=lambda one: one[1:3])
            for key in sorted({one[0] for one in made})
        ]
