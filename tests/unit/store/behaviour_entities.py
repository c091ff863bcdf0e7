"""Entities, their credentials and their edges."""

import json

import pytest

from edgeferry.core.errors import Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Credentials, Entity, EntityKey, EntityOrder
from tests.unit.store.bench import DEVICE, Bench, T


def entity(tenant: str, name: str, created: int = T, version: int = 1) -> Entity:
    return Entity(DEVICE, new_entity_id(), tenant, name, "pump", created, version, "cloud")


def key_of(one: Entity | Credentials) -> EntityKey:
    return (one.entity_type, one.entity_id)


def credentials(owner: str, token: str, version: int = 1) -> Credentials:
    body = json.dumps({"credentialsType": "ACCESS_TOKEN", "credentialsId": token})
    return Credentials(DEVICE, owner, body, version, "cloud", "event")


class EntityBehaviour:
    @pytest.mark.asyncio
    async def test_an_entity_is_kept_whole(self, bench: Bench) -> None:
        made = entity(new_entity_id(), "Pümpe 1")._replace(
            label="left", additional_info='{"a": [1]}', event_id="e1"
        )
        await bench.store.entities.save_entities([made])
        await bench.reopen()
        unknown = (DEVICE, new_entity_id())
        assert await bench.store.entities.entities([unknown, key_of(made)]) == {key_of(made): made}
        assert await bench.store.entities.entities([]) == {}

    @pytest.mark.asyncio
    async def test_the_greater_version_of_an_entity_stays(self, bench: Bench) -> None:
        save = bench.store.entities.save_entities
        made = entity(new_entity_id(), "a", version=5)
        await save([made, made._replace(name="older", version=4)])
        await save([made._replace(name="smaller origin", origin="a")])
        assert (await bench.store.entities.entities([key_of(made)]))[key_of(made)] == made
        again = made._replace(name="the same version again")
        await save([again])
        assert (await bench.store.entities.entities([key_of(made)]))[key_of(made)] == again

    @pytest.mark.asyncio
    async def test_entities_are_found_by_their_name(self, bench: Bench) -> None:
        tenant, named = new_entity_id(), bench.store.entities.named
        first, second = entity(tenant, "Same", T), entity(tenant, "Same", T + 1)
        await bench.store.entities.save_entities([second, first, entity(tenant, "same", T - 1)])
        assert await named(tenant, DEVICE, "Same") == first
        assert await named(tenant, DEVICE, "SAME") is None
        assert await named(tenant, "ASSET", "Same") is None
        for impossible in ("", "\ud800", "x" * 40_000):
            assert await named(tenant, DEVICE, impossible) is None
        assert await named(new_entity_id(), DEVICE, "Same") is None
        renamed = first._replace(name="other", version=2)
        await bench.store.entities.save_entities([renamed])
        assert await named(tenant, DEVICE, "other") == renamed
        assert await named(tenant, DEVICE, "Same") == second
        await bench.store.entities.save_entities([renamed._replace(name="Same", version=3)])
        assert await named(tenant, DEVICE, "other") is None
        found = await named(tenant, DEVICE, "Same")
        assert found is not None
        assert found.entity_id == first.entity_id

    @pytest.mark.asyncio
    async def test_a_deleted_entity_is_known_but_neither_named_nor_shown(
        self, bench: Bench
    ) -> None:
        store, tenant = bench.store.entities, new_entity_id()
        made = entity(tenant, "gone")
        gone = made._replace(deleted=True, version=2)
        await store.save_entities([made, gone])
        assert await store.entities([key_of(made)]) == {key_of(made): gone}
        assert await store.named(tenant, DEVICE, "gone") is None
        assert await store.page(tenant, DEVICE, 10, 0) == ([], 0)
        assert await store.profiles(tenant, DEVICE) == []
        back = made._replace(version=3)
        await store.save_entities([back])
        assert await store.named(tenant, DEVICE, "gone") == back
        assert await store.page(tenant, DEVICE, 10, 0) == ([back], 1)

    @pytest.mark.asyncio
    async def test_pages_come_in_every_order(self, bench: Bench) -> None:
        store, tenant = bench.store.entities, new_entity_id()
        made = [
            entity(tenant, name, T + i)._replace(profile="yyxz"[i])
            for i, name in enumerate(["b", "C", "a", "Ä"])
        ]
        made[0], made[1] = sorted(made[:2], key=lambda one: one.entity_id)
        made = [one._replace(name=name) for one, name in zip(made, "bCaÄ", strict=True)]
        made = [one._replace(created_time=T + i) for i, one in enumerate(made)]
        await store.save_entities(made)
        for order, names in {
            EntityOrder.NEWEST: ["Ä", "a", "C", "b"],
            EntityOrder.OLDEST: ["b", "C", "a", "Ä"],
            EntityOrder.NAME: ["a", "b", "C", "Ä"],
            EntityOrder.NAME_DOWN: ["Ä", "C", "b", "a"],
            EntityOrder.PROFILE: ["a", "b", "C", "Ä"],
            EntityOrder.PROFILE_DOWN: ["Ä", "C", "b", "a"],
        }.items():
            whole, total = await store.page(tenant, DEVICE, 10, 0, order=order)
            assert ([one.name for one in whole], total) == (names, 4)
            part, total = await store.page(tenant, DEVICE, 2, 1, order=order)
            assert ([one.name for one in part], total) == (names[1:3], 4)
        assert await store.page(tenant, DEVICE, 2, 4) == ([], 4)

    @pytest.mark.asyncio
    async def test_pages_are_narrowed_by_text_and_profile(self, bench: Bench) -> None:
        store, tenant = bench.store.entities, new_entity_id()
        one, two = entity(tenant, "Öl 100%"), entity(tenant, "other_Öl", T + 1)
        two = two._replace(profile="valve")
        await store.save_entities([one, two, entity(tenant, "water", T + 2)])
        assert await store.page(tenant, DEVICE, 10, 0, text="öL") == ([two, one], 2)
        assert await store.page(tenant, DEVICE, 10, 0, text="0%") == ([one], 1)
        assert await store.page(tenant, DEVICE, 10, 0, text="_") == ([two], 1)
        assert await store.page(tenant, DEVICE, 10, 0, text="\ud800") == ([], 0)
        assert await store.page(tenant, DEVICE, 10, 0, text="öl", profile="pump") == ([one], 1)
        assert await store.profiles(tenant, DEVICE) == ["pump", "valve"]

    @pytest.mark.asyncio
    async def test_credentials_are_found_by_their_token(self, bench: Bench) -> None:
        owner, token = new_entity_id(), f"token {new_entity_id()}"
        made = credentials(owner, token)
        await bench.store.entities.save_credentials(made)
        await bench.reopen()
        store = bench.store.entities
        assert await store.credentials((DEVICE, owner)) == made
        assert await store.with_token(token) == (DEVICE, owner)
        assert await store.with_token(token + "x") is None
        assert await store.with_token("") is None
        assert await store.with_token("\ud800") is None
        assert await store.credentials((DEVICE, new_entity_id())) is None

    @pytest.mark.asyncio
    async def test_a_token_that_was_replaced_finds_nobody(self, bench: Bench) -> None:
        store, owner, one, two = bench.store.entities, *(new_entity_id() for _ in range(3))
        await store.save_credentials(credentials(owner, one, 2))
        await store.save_credentials(credentials(owner, two, 3))
        await store.save_credentials(credentials(owner, one, 1))
        assert await store.with_token(one) is None
        assert await store.with_token(two) == (DEVICE, owner)
        await store.save_credentials(credentials(owner, one, 4))
        assert await store.with_token(one) == (DEVICE, owner)
        assert await store.with_token(two) is None
        without = Credentials(DEVICE, owner, '{"credentialsType": "X509"}', 5, "cloud")
        await store.save_credentials(without)
        assert await store.with_token(one) is None
        assert await store.credentials((DEVICE, owner)) == without

    @pytest.mark.asyncio
    async def test_nobody_takes_over_the_token_of_another_one(self, bench: Bench) -> None:
        store, first, second, token = bench.store.entities, *(new_entity_id() for _ in range(3))
        await store.save_credentials(credentials(first, token, 5))
        await store.save_credentials(credentials(second, token, 6))
        assert await store.with_token(token) == (DEVICE, first)

    @pytest.mark.asyncio
    async def test_a_deleted_entity_has_no_token(self, bench: Bench) -> None:
        store, token = bench.store.entities, new_entity_id()
        made = entity(new_entity_id(), "a")
        await store.save_entities([made])
        await store.save_credentials(credentials(made.entity_id, token))
        assert await store.with_token(token) == key_of(made)
        await store.save_entities([made._replace(deleted=True, version=2)])
        assert await store.with_token(token) is None

    @pytest.mark.asyncio
    async def test_entities_are_assigned_to_edges(self, bench: Bench) -> None:
        store, tenant = bench.store.entities, new_entity_id()
        edges = sorted(new_entity_id() for _ in range(2))
        made = [entity(tenant, f"d{i}", T + i) for i in range(3)]
        await store.save_entities(made)
        for one in made:
            await store.assign(key_of(one), edges[0])
            await store.assign(key_of(one), edges[0])
        await store.assign(key_of(made[0]), edges[1])
        assert await store.edges_of([key_of(made[0]), key_of(made[1]), (DEVICE, edges[0])]) == {
            key_of(made[0]): edges,
            key_of(made[1]): edges[:1],
        }
        assert await store.assigned(edges[0], DEVICE, 2, 0) == ([made[2], made[1]], 3)
        assert await store.assigned(edges[0], DEVICE, 2, 2) == ([made[0]], 3)
        assert await store.assigned(edges[0], DEVICE, 9, 0, text="D1") == ([made[1]], 1)
        assert await store.assigned(edges[0], "ASSET", 9, 0) == ([], 0)
        oldest = await store.assigned(edges[0], DEVICE, 1, 0, order=EntityOrder.OLDEST)
        assert oldest == ([made[0]], 3)

    @pytest.mark.asyncio
    async def test_an_assignment_comes_and_goes(self, bench: Bench) -> None:
        store, edge = bench.store.entities, new_entity_id()
        made = entity(new_entity_id(), "a")
        await store.save_entities([made])
        for _ in range(2):
            await store.assign(key_of(made), edge)
            assert await store.assigned(edge, DEVICE, 9, 0) == ([made], 1)
            for _ in range(2):
                await store.unassign(key_of(made), edge)
            assert await store.edges_of([key_of(made)]) == {}
            assert await store.assigned(edge, DEVICE, 9, 0) == ([], 0)

    @pytest.mark.asyncio
    async def test_a_deleted_entity_keeps_its_edges_but_they_do_not_show_it(
        self, bench: Bench
    ) -> None:
        store, edge = bench.store.entities, new_entity_id()
        made = entity(new_entity_id(), "a")
        await store.assign(key_of(made), edge)
        await store.save_entities([made._replace(deleted=True)])
        assert await store.edges_of([key_of(made)]) == {key_of(made): [edge]}
        assert await store.assigned(edge, DEVICE, 9, 0) == ([], 0)

    @pytest.mark.asyncio
    async def test_what_no_store_can_hold_is_refused(self, bench: Bench) -> None:
        store, made = bench.store.entities, entity(new_entity_id(), "a")
        for bad in (
            made._replace(name="\ud800"),
            made._replace(entity_id=""),
            made._replace(version=2**63),
            made._replace(created_time=-1),
            made._replace(name="x" * 40_000),
        ):
            with pytest.raises(Unstorable):
                await store.save_entities([made, bad])
        assert await store.entities([key_of(made)]) == {}
        with pytest.raises(Unstorable):
            await store.save_credentials(credentials("", "token"))
        with pytest.raises(Unstorable):
            await store.assign(key_of(made), "")
