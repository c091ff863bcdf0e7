"""What follows from a change, and where it never goes."""

import json
from dataclasses import replace

import pytest

from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    Change,
    EntityAction,
    EntityChange,
    NotAppliedYet,
    RpcChange,
    RpcStatus,
    edge_origin,
)
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.record import Record
from edgeferry.core.store import Entity
from tests.unit.attributes.memory import (
    DEVICE,
    EDGE_A,
    EDGE_B,
    Site,
    change,
    cloud,
    edge,
    received,
)
from tests.unit.attributes.submitting import client

NOW = 1_700_000_000_000
A = edge_origin(EDGE_A)


def entity_change(
    id_: str,
    action: EntityAction,
    body: str = "",
    edge_id: str = "",
    origin: str = CLOUD_ORIGIN,
) -> EntityChange:
    return EntityChange(id_, "t", "DEVICE", DEVICE, action, origin, NOW, edge_id, body)


def rpc_change(id_: str, status: RpcStatus, body: str, origin: str = CLOUD_ORIGIN) -> RpcChange:
    return RpcChange(id_, "t", DEVICE, "rpc-1", status, origin, NOW, body)


def done(site: Site, *changes: Change) -> Site:
    for one in changes:
        site.put(one)
    site.handle()
    return site


def test_a_change_in_the_cloud_goes_to_each_edge_once_per_scope() -> None:
    site = done(cloud(EDGE_A, EDGE_B), change("1", CLOUD_ORIGIN, upserts={"a": 1, "b": 2}))
    assert [len(site.down[one]) for one in (EDGE_A, EDGE_B)] == [1, 1]
    body = site.down[EDGE_A][0].attributes
    assert body is not None
    assert body.values == {"a": 1, "b": 2}
    assert body.versions == {"a": NOW * 1000, "b": NOW * 1000}
    assert not site.up


def test_attributes_of_an_edge_go_to_that_edge() -> None:
    site = cloud(EDGE_A, EDGE_B)
    site.entities.known["EDGE", EDGE_B] = Entity("EDGE", EDGE_B, "t", "b", "default", 1, 1, "cloud")
    about = replace(change("1", CLOUD_ORIGIN, upserts={"limit": 5}), entity_type="EDGE")
    done(site, replace(about, entity_id=EDGE_B))
    assert list(site.down) == [EDGE_B]
    done(site, replace(about, id="2", entity_id="nobody"))
    assert list(site.down) == [EDGE_B]


def test_a_change_never_goes_back_to_its_origin_but_to_the_other_edges() -> None:
    site = done(cloud(EDGE_A, EDGE_B), change("1", A, upserts={"a": 1}, versions={"a": NOW * 1000}))
    assert list(site.down) == [EDGE_B]
    assert site.root[0].metadata["source"] == "edge"
    below = edge(EDGE_B)
    done(below, received(site.down[EDGE_B][0], CLOUD_ORIGIN))
    assert below.attributes.state() == site.attributes.state()
    assert not below.up
    assert below.root[0].metadata["source"] == "cloud"


def test_client_attributes_never_go_down() -> None:
    site = done(
        cloud(EDGE_A, EDGE_B),
        change("1", CLOUD_ORIGIN, Scope.CLIENT, {"a": 1}),
        change("2", A, Scope.CLIENT, {"b": 1}, versions={"b": NOW * 1000 + 10**12}),
        change("3", CLOUD_ORIGIN, Scope.CLIENT, deletes=["a"]),
        entity_change("4", EntityAction.ASSIGNED, edge_id=EDGE_A),
    )
    assert [event.action for event in site.down[EDGE_A]] == ["ASSIGNED_TO_EDGE"]
    assert EDGE_B not in site.down
    below = done(edge(EDGE_A), change("5", CLOUD_ORIGIN, Scope.CLIENT, {"a": 1}))
    assert len(below.outputs.dead) == 1
    assert not below.attributes.rows


def test_client_attributes_go_up() -> None:
    below = done(edge(EDGE_A), change("1", A, Scope.CLIENT, {"a": 1}))
    assert [event.action for event in below.up] == ["ATTRIBUTES_UPDATED"]


def test_an_edge_that_is_switched_off_gets_nothing_by_itself() -> None:
    site = cloud(EDGE_A, EDGE_B)
    site.entities.known["EDGE", EDGE_A] = Entity(
        "EDGE", EDGE_A, "t", "", "", NOW, 1, "", additional_info='{"attributeSync": false}'
    )
    done(site, change("1", CLOUD_ORIGIN, upserts={"a": 1}))
    assert list(site.down) == [EDGE_B]


def test_what_a_chain_pushes_too_is_delivered_once() -> None:
    below = done(edge(EDGE_A), change("1", A, upserts={"a": 1}))
    version = int(below.root[0].metadata["version"])
    site = done(
        cloud(EDGE_A, EDGE_B),
        received(below.up[0], A),
        change("pushed", A, upserts={"a": 1}, versions={"a": version}),
    )
    assert len(site.root) == 1
    assert len(site.down[EDGE_B]) == 1


def test_shared_attributes_of_a_device_reach_its_session() -> None:
    site = done(
        cloud(),
        change("1", CLOUD_ORIGIN, Scope.SERVER, {"a": 1}),
        change("2", CLOUD_ORIGIN, Scope.SHARED, {"a": 1}),
        change("3", CLOUD_ORIGIN, Scope.SHARED, deletes=["a"]),
    )
    assert [(one.type, json.loads(one.data)) for one in site.commands] == [
        ("ATTRIBUTES_UPDATED", {"a": 1}),
        ("ATTRIBUTES_DELETED", {"attributes": ["a"]}),
    ]


def test_a_later_save_wins_though_the_clock_went_back() -> None:
    site = done(cloud(), change("1", CLOUD_ORIGIN, upserts={"a": 1}))
    site.clock.advance(-60)
    done(site, change("2", CLOUD_ORIGIN, upserts={"a": 2}))
    assert site.attributes.state() == {(Scope.SHARED, "a"): (2, NOW * 1000 + 1)}


def test_a_repeat_makes_the_same_versions_and_ids() -> None:
    site = cloud(EDGE_A)
    site.put(change("1", CLOUD_ORIGIN, upserts={"a": 1}))
    site.put(change("2", CLOUD_ORIGIN, upserts={"a": 2}))
    site.handle(outputs=True, commit=False)
    site.clock.advance(5)
    site.handle()
    assert site.down[EDGE_A][:2] == site.down[EDGE_A][2:]
    assert site.root[:2] == site.root[2:]


def test_what_follows_from_a_change_that_is_published_twice_leaves_once() -> None:
    twice = [change("1", CLOUD_ORIGIN, upserts={"a": 1}, deletes=["b"])] * 2
    site = cloud(EDGE_A)
    site.put(twice[0])
    site.handle(outputs=False, commit=False)  # killed before they left
    site.put(twice[1])
    site.handle(1)
    site.handle()
    assert [one.type for one in site.root] == ["ATTRIBUTES_UPDATED", "ATTRIBUTES_DELETED"]
    assert len(site.down[EDGE_A]) == 2
    assert site.attributes.state()[Scope.SHARED, "a"] == (1, NOW * 1000)


def test_a_version_far_ahead_is_given_anew_and_sent_back() -> None:
    far = (NOW + 3_600_000) * 1000
    below = edge(EDGE_A)
    below.clock.advance(3600)
    done(below, change("1", A, upserts={"a": 1}))
    site = done(cloud(EDGE_A), received(below.up[0], A))
    back = site.down[EDGE_A][0].attributes
    assert back is not None
    assert back.versions == {"a": far + 1}
    done(below, received(site.down[EDGE_A][0], CLOUD_ORIGIN))
    assert below.attributes.state() == site.attributes.state()
    assert len(below.up) == 1


def test_what_is_no_change_is_a_dead_letter_and_the_rest_goes_on() -> None:
    site = cloud()
    site.log.append(Record("site.attribute-changes", 0, 0, NOW, b"", b"?", ()))
    done(site, change("1", CLOUD_ORIGIN, upserts={"a": 1}))
    assert len(site.outputs.dead) == 1
    assert len(site.root) == 1


def test_nothing_is_lost_between_snapshot_and_assignment() -> None:
    site = cloud()
    site.timeseries.entries = [TsEntry("t", NOW, 20)]
    done(
        site,
        entity_change("0", EntityAction.SAVED, '{"name": "D", "type": "P"}'),
        change("1", CLOUD_ORIGIN, Scope.SERVER, {"a": 1, "gone": 1}),
        change("2", CLOUD_ORIGIN, Scope.SERVER, deletes=["gone"]),
        entity_change("3", EntityAction.ASSIGNED, edge_id=EDGE_A),
        change("4", CLOUD_ORIGIN, Scope.SERVER, {"a": 2}),
    )
    assert [event.action for event in site.down[EDGE_A]] == [
        "ASSIGNED_TO_EDGE",
        "ATTRIBUTES_UPDATED",
        "ATTRIBUTES_DELETED",
        "TIMESERIES_UPDATED",
        "ATTRIBUTES_UPDATED",
    ]
    assert json.loads(site.down[EDGE_A][0].entity or "")["name"] == "D"
    below = edge(EDGE_A)
    for event in site.down[EDGE_A]:
        if event.action.startswith("ATTRIBUTES"):
            done(below, received(event, CLOUD_ORIGIN))
    assert below.attributes.state() == site.attributes.state()


def test_a_shell_is_filled_by_its_entity() -> None:
    site = done(cloud(), entity_change("1", EntityAction.SAVED, '{"name": "D", "shell": true}'))
    assert not site.root
    done(site, entity_change("2", EntityAction.SAVED, '{"name": "D", "type": "P"}'))
    done(site, entity_change("3", EntityAction.SAVED, '{"label": "L"}'))
    assert [one.type for one in site.root] == ["ENTITY_CREATED", "ENTITY_UPDATED"]
    stands = site.entities.known["DEVICE", DEVICE]
    assert (stands.name, stands.profile, stands.label) == ("D", "P", "L")


def test_what_an_edge_made_is_assigned_to_it() -> None:
    site = done(cloud(), entity_change("1", EntityAction.SAVED, '{"name": "D"}', origin=A))
    assert site.entities.edges["DEVICE", DEVICE] == {EDGE_A}
    assert not site.down


def test_a_command_goes_down_once_and_its_states_come_up() -> None:
    request = '{"method": "m", "params": {}, "persistent": true}'
    site = done(
        cloud(EDGE_A),
        rpc_change("1", RpcStatus.QUEUED, request),
        rpc_change("other", RpcStatus.QUEUED, request),
    )
    assert len(site.down[EDGE_A]) == 1
    assert not site.commands
    below = edge(EDGE_A)
    done(
        below,
        rpc_change("1", RpcStatus.QUEUED, site.down[EDGE_A][0].rpc or ""),
        rpc_change("2", RpcStatus.SUCCESSFUL, '{"ok": 1}', A),
        rpc_change("3", RpcStatus.SENT, "", A),
    )
    assert len(below.commands) == 1
    assert len(below.up) == 1
    done(site, rpc_change("2", RpcStatus.SUCCESSFUL, '{"ok": 1}', A))
    assert [one.type for one in site.root] == ["RPC_QUEUED", "RPC_SUCCESSFUL"]


@pytest.mark.asyncio
async def test_a_submitted_change_is_answered_when_it_is_applied() -> None:
    site = cloud()
    await client(site).submit([change("1", CLOUD_ORIGIN, upserts={"a": 1})])
    assert site.attributes.state()[Scope.SHARED, "a"][0] == 1


@pytest.mark.asyncio
async def test_who_waits_too_long_is_told_that_the_change_is_kept() -> None:
    site = cloud()
    with pytest.raises(NotAppliedYet, match="is kept"):
        await client(site, handles=False).submit([change("1", CLOUD_ORIGIN, upserts={"a": 1})])


@pytest.mark.parametrize("action", [EntityAction.SAVED, EntityAction.ASSIGNED])
def test_no_rule_message_has_credentials_but_the_events_have(action: EntityAction) -> None:
    token = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "secret-token"}
    body = {"name": "pump", "credentials": token, "credentialsVersion": 5}
    change_ = replace(
        entity_change("1", action, json.dumps(body), EDGE_A, A if action == "SAVED" else "cloud"),
        version=5,
    )
    below = done(edge(EDGE_A), change_)
    assert "secret-token" in below.entities.kept["DEVICE", DEVICE].body
    assert [json.loads(message.data) for message in below.root] == [{"name": "pump"}]
    above = done(cloud(EDGE_A, EDGE_B), replace(change_, action=EntityAction.SAVED, origin=A))
    assert "secret-token" in str(above.down[EDGE_B][0].entity)
    assert "secret-token" not in "".join(message.data for message in above.root)


@pytest.mark.parametrize("status", [RpcStatus.SENT, RpcStatus.SUCCESSFUL, RpcStatus.QUEUED])
def test_a_command_of_another_device_is_not_touched(status: RpcStatus) -> None:
    request = '{"method": "m", "params": {}, "persistent": true}'
    site = done(cloud(EDGE_A), rpc_change("1", RpcStatus.QUEUED, request))
    theirs = replace(rpc_change("2", status, '{"method": "x"}', A), device_id="another")
    done(site, theirs)
    assert [type(dead.error).__name__ for dead in site.outputs.dead] == ["NotTheDevices"]
    assert (site.rpcs.known["rpc-1"].status, len(site.root)) == (RpcStatus.QUEUED, 1)
