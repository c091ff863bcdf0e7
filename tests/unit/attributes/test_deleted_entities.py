"""What is left of an entity that was deleted: nothing but that, and the edges that must know."""

from edgeferry.core.changes import CLOUD_ORIGIN, Change, EntityAction, EntityChange, edge_origin
from tests.unit.attributes.memory import DEVICE, EDGE_A, EDGE_B, Site, change, cloud

NOW = 1_700_000_000_000
KEY = ("DEVICE", DEVICE)
SAVED, DELETED = EntityAction.SAVED, EntityAction.DELETED


def of_entity(
    id_: str, action: EntityAction, edge_id: str = "", origin: str = CLOUD_ORIGIN
) -> EntityChange:
    return EntityChange(
        id_, "t", "DEVICE", DEVICE, action, origin, NOW, edge_id, '{"name": "pump"}'
    )


def with_device(*changes: Change) -> Site:
    """Known, assigned to both edges; then the changes, one batch each."""
    site = cloud(EDGE_A, EDGE_B)
    for one in (of_entity("made", SAVED), *changes):
        site.put(one)
        site.handle()
    return site


def told(site: Site, edge_id: str) -> list[str]:
    return [event.action for event in site.down.get(edge_id, [])]


def test_a_delete_that_comes_again_tells_all_edges_again() -> None:
    site = with_device()
    site.put(of_entity("gone", DELETED))
    site.handle(outputs=False, commit=False)
    assert told(site, EDGE_A) == ["ADDED"]
    site.handle()
    first = [event.id for event in site.down[EDGE_A]]
    assert told(site, EDGE_A) == told(site, EDGE_B) == ["ADDED", "DELETED"]
    site.done -= 1
    site.handle()
    assert [event.id for event in site.down[EDGE_A]] == [*first, first[-1]]


def test_a_late_attribute_of_a_deleted_entity_leaves_nothing() -> None:
    site = with_device(change("a", CLOUD_ORIGIN, upserts={"a": 1}), of_entity("gone", DELETED))
    before = len(site.root)
    late = change("late", edge_origin(EDGE_A), upserts={"a": 2}, versions={"a": NOW * 2000})
    gone = change("late too", CLOUD_ORIGIN, deletes=["a"])
    for one in (late, gone):
        site.put(one)
    site.handle()
    assert site.attributes.state() == {}
    assert len(site.root) == before
    assert told(site, EDGE_B) == ["ADDED", "ATTRIBUTES_UPDATED", "DELETED"]


def test_an_entity_that_comes_back_is_no_longer_its_edges() -> None:
    site = with_device(of_entity("gone", DELETED), of_entity("back", SAVED))
    assert not site.entities.known[KEY].deleted
    assert not site.entities.edges[KEY]
    assert told(site, EDGE_A) == ["ADDED", "DELETED"]
    site.put(change("new", CLOUD_ORIGIN, upserts={"a": 1}))
    site.handle()
    assert [key for _, key in site.attributes.state()] == ["a"]
    assert told(site, EDGE_A) == ["ADDED", "DELETED"]


def test_an_entity_that_its_edge_brings_back_is_that_edges_alone() -> None:
    site = with_device(
        of_entity("gone", DELETED), of_entity("back", SAVED, origin=edge_origin(EDGE_B))
    )
    assert site.entities.edges[KEY] == {EDGE_B}
    assert told(site, EDGE_A) == ["ADDED", "DELETED"]
