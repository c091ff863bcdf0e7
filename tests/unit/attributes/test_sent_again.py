"""What an Edge tells the Cloud again of an entity."""

from edgeferry.core.changes import CLOUD_ORIGIN, EntityAction
from tests.unit.attributes.memory import EDGE_A, change, edge
from tests.unit.attributes.test_service import A, done, entity_change


def test_an_edge_sends_again_what_was_decided_there_and_the_cloud_takes_what_it_lacks() -> None:
    here = edge(EDGE_A)
    made = entity_change("1", EntityAction.SAVED, '{"name": "pump", "type": "x"}', origin=A)
    done(
        here,
        made,
        change("2", A, upserts={"a": 1, "b": 2}),
        change("3", A, deletes=["b"]),
        change("4", CLOUD_ORIGIN, upserts={"limit": 5}, versions={"limit": 7}),
    )
    here.up.clear()
    done(here, entity_change("5", EntityAction.SNAPSHOT, origin=A))
    told = [(event.action, event.attributes, event.attribute_keys) for event in here.up]
    assert [action for action, _, _ in told] == [
        "UPDATED",
        "ATTRIBUTES_UPDATED",
        "ATTRIBUTES_DELETED",
    ]
    (_, values, _), (_, _, keys) = told[1:]
    assert values is not None
    assert dict(values.values) == {"a": 1}, "the Cloud's own stays there"
    assert keys is not None
    assert list(keys.keys) == ["b"]
    assert not here.down
