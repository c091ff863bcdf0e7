"""Who made an entity is kept with it, whoever changes it: an edge deletes only what it made."""

import json
from dataclasses import replace

from edgeferry.attributes.entities import NotTheEdges
from edgeferry.core.changes import CLOUD_ORIGIN, EntityChange
from edgeferry.core.entity_store import maker_of
from tests.unit.attributes.memory import EDGE_A, EDGE_B, Site, cloud, edge
from tests.unit.attributes.test_entity_decisions import (
    ASSIGNED,
    DELETED,
    KEY,
    NOW,
    SAVED,
    A,
    B,
    done,
    of_entity,
)

LATER = NOW * 1_000 + 1_000


def maker(site: Site) -> str:
    return maker_of(site.entities.known[KEY])


def saying(change: EntityChange, made_by: str, **more: object) -> EntityChange:
    body = {"name": "pump", "additionalInfo": {"madeBy": made_by}, **more}
    return replace(change, body=json.dumps(body))


def test_the_first_who_sends_an_entity_made_it_whoever_changes_it() -> None:
    site = done(
        cloud(EDGE_A),
        saying(of_entity("made", SAVED), B),
        of_entity("changed", SAVED, A, version=LATER),
        saying(of_entity("changed again", SAVED, A, version=LATER + 1), A),
    )
    assert (maker(site), site.entities.known[KEY].origin) == (CLOUD_ORIGIN, A)
    assert site.entities.known[KEY].name == "pump"


def test_a_shell_is_made_by_who_sent_it_first() -> None:
    shell = replace(of_entity("shell", SAVED, A), body='{"shell": true, "name": "pump"}')
    site = done(cloud(), shell, of_entity("filled", SAVED, version=LATER))
    assert maker(site) == A


def test_what_an_edge_brings_back_it_has_made() -> None:
    back = of_entity("back", SAVED, A, version=LATER)
    site = done(cloud(EDGE_A), of_entity("made", SAVED), of_entity("gone", DELETED), back)
    assert maker(site) == A


def test_the_maker_of_an_older_entity_is_not_known_and_its_edge_may_delete_it() -> None:
    site = done(cloud(EDGE_A), of_entity("made", SAVED))
    site.entities.known[KEY] = site.entities.known[KEY]._replace(additional_info="{}")
    done(site, of_entity("changed", SAVED, version=LATER))
    assert maker(site) == ""
    done(site, of_entity("gone", DELETED, A, version=LATER + 1))
    assert site.entities.known[KEY].deleted


def test_an_edge_goes_by_what_its_cloud_says() -> None:
    site = done(
        edge(EDGE_A),
        saying(of_entity("given", ASSIGNED, version=5, edge_id=EDGE_A), CLOUD_ORIGIN),
        of_entity("changed here", SAVED, A),
    )
    assert maker(site) == CLOUD_ORIGIN
    assert json.loads(site.up[-1].entity or "")["additionalInfo"] == {"madeBy": CLOUD_ORIGIN}
    done(site, saying(of_entity("told", SAVED, version=LATER), B))
    assert maker(site) == B


def test_what_an_edge_makes_is_its_own_at_both_ends() -> None:
    here = done(edge(EDGE_A), of_entity("made", SAVED, A))
    assert maker(here) == A
    there = done(cloud(), saying(of_entity("made", SAVED, A, version=5), A))
    assert maker(there) == A
    done(there, of_entity("changed", SAVED, version=LATER))
    done(there, of_entity("gone", DELETED, A, version=LATER + 1))
    assert there.entities.known[KEY].deleted


def test_an_edge_that_deletes_what_it_did_not_make_is_refused_and_it_is_told() -> None:
    site = done(cloud(EDGE_A, EDGE_B), of_entity("made", SAVED))
    site.put(of_entity("gone", DELETED, A, version=LATER))
    site.handle()
    (dead,) = site.outputs.dead
    assert isinstance(dead.error, NotTheEdges)
    assert "which has not made it: delete it here, too, or unassign it" in str(dead.error)
    assert not site.entities.known[KEY].deleted
    done(site, of_entity("still may change", SAVED, A, version=LATER + 1))
    assert site.entities.known[KEY].name == "still may change"
