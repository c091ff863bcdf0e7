"""What an edge may write about."""

from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from edgeferry.core.changes import EntityChange, edge_origin
from edgeferry.core.clock import ManualClock
from edgeferry.core.record import Outgoing
from edgeferry.core.store import Entity, EntityKey, EntityStore
from edgeferry.log.change_codec import decode_change
from edgeferry.sync.quick_events import EventHead
from edgeferry.sync.rights import EdgeRights, NotTheEdges

EDGE, OTHER = "00000000-0000-1000-8000-00000000000a", "00000000-0000-1000-8000-00000000000b"
D, E = "00000000-0000-1000-8000-00000000000d", "00000000-0000-1000-8000-00000000000e"
pytestmark = pytest.mark.asyncio


class Entities:
    def __init__(self) -> None:
        self.edges: dict[EntityKey, list[str]] = {}

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        known = {key: Entity(*key, "t", "", "", 1, 1, "cloud") for key in keys}
        return {key: entity for key, entity in known.items() if key in self.edges}

    async def edges_of(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Sequence[str]]:
        return {key: self.edges[key] for key in keys if self.edges.get(key)}


class World:
    def __init__(self) -> None:
        self.entities = Entities()
        self.clock = ManualClock()
        self.rights = EdgeRights(
            site="cloud",
            tenant_id="t",
            store=cast(EntityStore, self.entities),
            clock=self.clock,
        )

    async def look(self, edge_id: str, head: EventHead) -> list[Outgoing]:
        return await self.rights.look([(edge_id, head)], 7)

    async def may(self, edge_id: str, head: EventHead) -> bool:
        await self.look(edge_id, head)
        try:
            self.rights.check(edge_id, head)
        except NotTheEdges:
            return False
        return True


def head(id_: str = D, kind: str = "DEVICE") -> EventHead:
    return EventHead("event-1", 1, kind, id_, "pump", "pumps")


async def test_an_edge_writes_of_what_is_assigned_to_it_and_of_nothing_else() -> None:
    world = World()
    world.entities.edges["DEVICE", D] = [OTHER]
    assert not await world.may(EDGE, head())
    assert await world.may(OTHER, head())


async def test_an_edge_writes_of_itself_and_of_no_other_edge() -> None:
    world = World()
    assert await world.may(EDGE, head(EDGE, "EDGE"))
    assert not await world.may(EDGE, head(OTHER, "EDGE"))
    assert not await world.may(EDGE, head("t", "TENANT"))


async def test_what_nobody_knows_becomes_a_shell_of_the_edges_own_once() -> None:
    world = World()
    (shell,) = await world.look(EDGE, head())
    world.rights.check(EDGE, head())
    change = decode_change(shell.value)
    assert isinstance(change, EntityChange)
    assert (shell.topic, shell.key, change.origin) == (
        "cloud.attribute-changes", D.encode(), edge_origin(EDGE)
    )  # fmt: skip
    assert change.body == '{"shell": true, "name": "pump", "type": "pumps"}'
    assert await world.look(EDGE, head()) == []
    assert await world.rights.look([(OTHER, head(E)), (EDGE, head(E))], 7) != []
    with pytest.raises(NotTheEdges):
        world.rights.check(EDGE, head(E))  # the first one made it


async def test_what_was_taken_away_is_refused_after_seconds() -> None:
    world = World()
    world.entities.edges["DEVICE", D] = [EDGE]
    assert await world.may(EDGE, head())
    world.entities.edges["DEVICE", D] = []
    world.clock.advance(6)
    assert not await world.may(EDGE, head())


async def test_an_id_that_no_entity_has_makes_no_shell() -> None:
    world = World()
    for made_up in ("d", "00000000-0000-4000-8000-00000000000d", D.upper()):
        assert await world.look(EDGE, head(made_up)) == []
        with pytest.raises(NotTheEdges, match="version-1 UUID"):
            world.rights.check(EDGE, head(made_up))
