"""Changes of an entity that come again, too late, or from an edge that may not."""

import json
from dataclasses import replace

import pytest

from edgeferry.attributes.entity_decisions import KEPT
from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    VERSION_MAX,
    Change,
    EntityAction,
    EntityChange,
    edge_origin,
)
from edgeferry.core.store import Credentials, Entity
from tests.unit.attributes.memory import DEVICE, EDGE_A, EDGE_B, Site, change, cloud, edge

NOW = 1_700_000_000_000
KEY = ("DEVICE", DEVICE)
A, B = edge_origin(EDGE_A), edge_origin(EDGE_B)
SAVED, DELETED = EntityAction.SAVED, EntityAction.DELETED
ASSIGNED, UNASSIGNED = EntityAction.ASSIGNED, EntityAction.UNASSIGNED


def of_entity(
    id_: str, action: EntityAction, origin: str = CLOUD_ORIGIN, version: int = 0, edge_id: str = ""
) -> EntityChange:
    body = json.dumps({"name": id_})
    return EntityChange(id_, "t", *KEY, action, origin, NOW, edge_id, body, version)


def done(site: Site, *changes: Change) -> Site:
    """One batch each."""
    for one in changes:
        site.put(one)
        site.handle()
    return site


def again(site: Site, count: int) -> None:
    """The last so many changes come once more, in one batch."""
    site.done -= count
    site.handle()


def state(site: Site) -> tuple[Entity, Credentials | None, set[str]]:
    edges = site.entities.edges.get(KEY, set())
    return site.entities.known[KEY], site.entities.kept.get(KEY), set(edges)


def test_a_deletion_reaches_the_edge_though_what_came_before_it_comes_again() -> None:
    site = done(cloud(EDGE_A), of_entity("made", SAVED), of_entity("saved", SAVED))
    site.put(of_entity("gone", DELETED))
    site.handle(outputs=False, commit=False)
    again(site, 1)
    assert [event.action for event in site.down[EDGE_A]] == [
        "ADDED", "UPDATED", "UPDATED", "DELETED"
    ]  # fmt: skip
    assert site.entities.known[KEY].deleted
    versions = [event.stamp for event in site.down[EDGE_A]]
    assert versions[1] == versions[2] < versions[3]


def test_whatever_comes_again_changes_nothing_and_is_told_the_same() -> None:
    token = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "secret"}
    secret = replace(of_entity("secret", EntityAction.CREDENTIALS), body=json.dumps(token))
    changes = [
        of_entity("made", SAVED),
        of_entity("to a", ASSIGNED, edge_id=EDGE_A),
        secret,
        of_entity("saved", SAVED),
        of_entity("away", UNASSIGNED, edge_id=EDGE_A),
        of_entity("to b", ASSIGNED, edge_id=EDGE_B),
        of_entity("gone", DELETED),
        of_entity("back", SAVED),
        of_entity("to a again", ASSIGNED, edge_id=EDGE_A),
    ]
    site = done(cloud(), *changes)
    first, told = state(site), dict(site.down)
    root = [(one.id, one.type, one.data) for one in site.root]
    site.down, site.root = {}, []
    site.clock.advance(60)
    again(site, len(changes))
    assert state(site) == first
    assert [(one.id, one.type, one.data) for one in site.root] == root
    for edge_id in (EDGE_A, EDGE_B):
        assert [(one.id, one.action, one.stamp) for one in site.down[edge_id]] == [
            (one.id, one.action, one.stamp) for one in told[edge_id]
        ]


def test_a_change_that_is_published_twice_is_followed_by_its_consequences_once() -> None:
    twice = of_entity("made", SAVED)
    site = done(cloud(EDGE_A), twice, of_entity("saved", SAVED), twice)
    assert [one.type for one in site.root] == ["ENTITY_CREATED", "ENTITY_UPDATED"]
    assert site.entities.known[KEY].name == "saved"


def test_what_was_decided_so_long_ago_that_it_is_forgotten_is_not_decided_anew() -> None:
    changes = [of_entity(f"save {number}", SAVED) for number in range(KEPT + 5)]
    site = done(cloud(), *changes)
    first = state(site)
    again(site, len(changes))
    assert state(site) == first


def test_a_repeat_after_the_store_went_away_in_between_is_applied() -> None:
    site = done(cloud(), of_entity("made", SAVED, A, version=NOW * 1000))
    assert state(site)[2] == {EDGE_A}
    del site.entities.known[KEY]  # the row that is written last
    again(site, 1)
    assert state(site)[2] == {EDGE_A}
    assert site.entities.known[KEY].version == NOW * 1000


def test_an_unassignment_stays_though_the_edge_saves_once_more() -> None:
    site = done(
        cloud(),
        of_entity("made", SAVED, A, version=NOW * 1000),
        of_entity("away", UNASSIGNED, edge_id=EDGE_A),
        of_entity("late", SAVED, A, version=NOW * 1000 + 5),
    )
    assert len(site.outputs.dead) == 1
    name, _, edges = state(site)
    assert (name.name, edges) == ("made", set())
    again(site, 1)
    assert len(site.outputs.dead) == 1


def test_what_an_edge_was_refused_stays_refused_when_it_comes_again() -> None:
    site = done(
        cloud(),
        of_entity("made", SAVED),
        replace(of_entity("theirs", EntityAction.CREDENTIALS, A, NOW * 2000), body="{}"),
        of_entity("to a", ASSIGNED, edge_id=EDGE_A),
    )
    again(site, 2)
    assert len(site.outputs.dead) == 1
    assert site.entities.kept == {}
    done(site, of_entity("now", SAVED, A, NOW * 1000 + 5))
    assert site.entities.known[KEY].name == "now"


def test_what_an_edge_saves_of_a_device_of_two_edges_reaches_the_other() -> None:
    site = done(
        cloud(EDGE_A, EDGE_B), of_entity("made", SAVED), of_entity("new", SAVED, A, NOW * 1000 + 5)
    )
    assert [len(site.down[one]) for one in (EDGE_A, EDGE_B)] == [1, 2]


@pytest.mark.parametrize("action", [SAVED, EntityAction.CREDENTIALS])
def test_an_edge_cannot_make_a_device_impossible_to_change(action: EntityAction) -> None:
    site = done(cloud(EDGE_A), of_entity("made", SAVED))
    done(site, of_entity("bad", action, A, 2**63 - 1))
    assert len(site.outputs.dead) == 1
    done(site, of_entity("far", action, A, VERSION_MAX // 2))
    assert not site.outputs.dead
    sent = site.down[EDGE_A][-1]
    assert sent.stamp == VERSION_MAX // 2 + 1
    below = edge(EDGE_A)
    done(below, of_entity("down", action, CLOUD_ORIGIN, sent.stamp))
    done(below, of_entity("edge's", action, A))
    assert below.up[-1].stamp == VERSION_MAX // 2 + 2
    done(site, of_entity("up", action, A, below.up[-1].stamp), of_entity("cloud's", action))
    assert not site.outputs.dead
    assert site.down[EDGE_A][-1].stamp == VERSION_MAX // 2 + 4


def test_credentials_that_come_with_an_entity_get_a_plausible_version() -> None:
    site = done(cloud(EDGE_A), of_entity("made", SAVED))
    ahead = (NOW + 3_600_000) * 1000
    body = {"name": "n", "credentials": {"credentialsId": "x"}, "credentialsVersion": ahead}
    saved = of_entity("saved", SAVED, A, NOW * 1000 + 5)
    done(site, replace(saved, body=json.dumps(body)))
    assert site.entities.kept[KEY].version == ahead + 1
    assert (site.down[EDGE_A][-1].action, site.down[EDGE_A][-1].stamp) == (
        "CREDENTIALS_UPDATED", ahead + 1
    )  # fmt: skip
    bad = json.dumps({**body, "credentialsVersion": 2**63 - 1})
    done(site, replace(saved, id="2", body=bad, version=saved.version + 1))
    assert len(site.outputs.dead) == 1
    assert site.entities.kept[KEY].version == ahead + 1


def test_a_shell_changes_nothing_of_what_is_there_and_is_no_mistake() -> None:
    site = done(cloud(), of_entity("made", SAVED))
    done(site, replace(of_entity("shell", SAVED, A), body='{"name": "x", "shell": true}'))
    assert not site.outputs.dead
    assert (state(site)[0].name, state(site)[2]) == ("made", set())


def test_what_is_kept_of_an_entity_of_very_many_edges_is_bounded() -> None:
    site = cloud(*(f"{number:036}" for number in range(1_000)))
    changes = [of_entity(f"save {number}", SAVED) for number in range(4)]
    first = state(done(site, *changes))
    assert len(first[0].decisions) < 64 * 1024
    again(site, len(changes))
    assert state(site) == first


def test_a_deleted_edge_gets_nothing_and_its_devices_have_no_command_lost() -> None:
    site = done(cloud(EDGE_A, EDGE_B), of_entity("made", SAVED))
    gone = EntityChange("gone", "t", "EDGE", EDGE_A, DELETED, CLOUD_ORIGIN, NOW)
    done(site, gone, change("a", CLOUD_ORIGIN, upserts={"a": 1}), of_entity("saved", SAVED))
    assert [event.action for event in site.down[EDGE_A]] == ["ADDED"]
    assert [event.action for event in site.down[EDGE_B]] == [
        "ADDED", "ATTRIBUTES_UPDATED", "UPDATED"
    ]  # fmt: skip


def test_the_gateway_of_a_device_stays_unless_a_save_names_it() -> None:
    def save(id_: str, info: object) -> EntityChange:
        return replace(of_entity(id_, SAVED), body=json.dumps({"additionalInfo": info}))

    site = done(cloud(), save("made", {"lastConnectedGateway": "g", "a": 1}))
    for id_, given, stands in (
        ("described", {"description": "x"}, {"lastConnectedGateway": "g", "description": "x"}),
        ("nothing", {}, {"lastConnectedGateway": "g"}),
        ("moved", {"lastConnectedGateway": "h"}, {"lastConnectedGateway": "h"}),
    ):
        done(site, save(id_, given))
        assert json.loads(state(site)[0].additional_info) == {"madeBy": "cloud"} | stands
