"""From a received event to a change: versions and origins kept, nobody forged."""

import json

import pytest

from edgeferry.core.changes import (
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    RpcChange,
    RpcStatus,
)
from edgeferry.core.errors import Undecodable
from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent, EdgeEvent
from edgeferry.core.kv import Scope, TsPoint
from edgeferry.core.record import Headers, Outgoing, Record
from edgeferry.log.change_codec import decode_change
from edgeferry.log.codec import decode_message, encode_cloud_event, encode_edge_event
from edgeferry.sync.messages import RuleMessages, UnsupportedAction

DEVICE = "8f1c6a10-5b1e-11f0-8000-0242ac120007"
EDGE = "8f1c6a10-5b1e-11f0-8000-0242ac120001"
UPDATED = AttributesBody(
    Scope.SHARED, 9, {"a": 1, "j": {"deep": [1, None]}, "d": 2.0}, {"a": 42, "d": 0}
)
RPC_ID = "1f7c1f80-5b1e-11f0-8000-0242ac120002"


def event(action: str, **changed: object) -> CloudEvent:
    fields: dict[str, object] = {
        "id": "e-1", "created_time": 5, "stamp": 1000, "tenant_id": "forged",
        "action": action, "type": "DEVICE", "entity_type": "DEVICE", "entity_id": DEVICE,
        "entity_name": "Thermometer", "entity_profile": "default",
    }  # fmt: skip
    return CloudEvent(**{**fields, **changed})  # type: ignore[arg-type]


def up(of: CloudEvent, headers: Headers = ()) -> list[Outgoing]:
    record = Record("t", 0, 9, 777, b"k", encode_cloud_event(of), headers)
    return (
        RuleMessages(site="cloud", tenant_id="tenant", source="edge")
        .of(record, EDGE.encode())
        .records
    )


def down(of: CloudEvent, headers: Headers = ()) -> list[Outgoing]:
    record = Record("t", 0, 9, 777, b"k", encode_edge_event(EdgeEvent(EDGE, "", of)), headers)
    return (
        RuleMessages(site="edge", tenant_id="tenant", source="cloud")
        .of(record, EDGE.encode())
        .records
    )


def change(outgoing: list[Outgoing]) -> Change:
    (only,) = outgoing
    assert only.topic.endswith(".attribute-changes")
    assert only.key == DEVICE.encode()
    return decode_change(only.value)


def test_changed_attributes_keep_values_and_versions() -> None:
    assert change(up(event("ATTRIBUTES_UPDATED", attributes=UPDATED))) == AttributeChange(
        "e-1", "tenant", "DEVICE", DEVICE, Scope.SHARED, f"edge:{EDGE}", 9,
        upserts=dict(UPDATED.values), versions={"a": 42},
    )  # fmt: skip


def test_deleted_attributes_keep_their_versions() -> None:
    body = AttributeKeysBody(Scope.SERVER, ["a", "b"], {"a": 42})
    got = change(down(event("ATTRIBUTES_DELETED", attribute_keys=body)))
    assert isinstance(got, AttributeChange)
    assert (got.deletes, got.versions, got.origin) == (("a", "b"), {"a": 42}, "cloud")


def test_an_edge_speaks_for_itself_only_and_the_cloud_passes_on_who_decided() -> None:
    forged = [("origin", b"edge:another")]
    told = event("ATTRIBUTES_UPDATED", attributes=UPDATED)
    ups, downs = change(up(told, forged)), change(down(told, forged))
    assert (ups.origin, downs.origin) == (f"edge:{EDGE}", "edge:another")


@pytest.mark.parametrize(
    ("action", "wanted", "edge_id"),
    [
        ("ADDED", EntityAction.SAVED, ""),
        ("UPDATED", EntityAction.SAVED, ""),
        ("DELETED", EntityAction.DELETED, ""),
        ("CREDENTIALS_UPDATED", EntityAction.CREDENTIALS, ""),
        ("ASSIGNED_TO_EDGE", EntityAction.ASSIGNED, EDGE),
        ("UNASSIGNED_FROM_EDGE", EntityAction.UNASSIGNED, EDGE),
    ],
)
def test_entities_come_down(action: str, wanted: EntityAction, edge_id: str) -> None:
    got = change(down(event(action, entity='{"name": "Boiler", "version": 8}')))
    assert isinstance(got, EntityChange)
    assert (got.action, got.edge_id, got.version) == (wanted, edge_id, 8)
    assert got.body == '{"name": "Boiler", "version": 8}'


@pytest.mark.parametrize("action", ["ASSIGNED_TO_EDGE", "ALARM_ACK"])
def test_what_an_edge_may_not_say_is_refused(action: str) -> None:
    with pytest.raises(UnsupportedAction):
        up(event(action))


def test_a_command_comes_down_queued_and_its_answer_goes_up() -> None:
    request = json.dumps({"requestUUID": RPC_ID, "method": "on", "params": "{}"})
    queued = change(down(event("RPC_CALL", rpc=request)))
    assert isinstance(queued, RpcChange)
    assert (queued.status, queued.rpc_id, queued.body) == (RpcStatus.QUEUED, RPC_ID, request)
    answers: list[tuple[dict[str, object], RpcStatus, str]] = [
        ({"status": "SENT"}, RpcStatus.SENT, ""),
        ({"response": {"ok": True}}, RpcStatus.SUCCESSFUL, '{"ok": true}'),
        ({"error": "no"}, RpcStatus.FAILED, "no"),
    ]
    for told, status, body in answers:
        got = change(up(event("RPC_CALL", rpc=json.dumps({"requestUUID": RPC_ID, **told}))))
        assert isinstance(got, RpcChange)
        assert (got.status, got.body, got.device_id) == (status, body, DEVICE)


@pytest.mark.parametrize(
    "rpc", ["[]", "{", f'{{"requestUUID": "{RPC_ID}", "status": "QUEUED"}}', '{"requestUUID": 5}']
)
def test_bad_answers_are_dead(rpc: str) -> None:
    with pytest.raises(Undecodable):
        up(event("RPC_CALL", rpc=rpc))


def test_telemetry_and_posted_attributes_enter_the_edges_chain_as_the_clouds() -> None:
    points = [TsPoint(10, {"t": 1}), TsPoint(20, {"t": 2})]
    made = down(event("TIMESERIES_UPDATED", timeseries=points))
    made += down(event("POST_ATTRIBUTES", attributes=UPDATED))
    assert {outgoing.topic for outgoing in made} == {"edge.root"}
    first, second, posted = [decode_message(outgoing.value) for outgoing in made]
    assert first.metadata == {
        "ts": "10", "source": "cloud", "deviceName": "Thermometer", "deviceType": "default",
    }  # fmt: skip
    assert (first.type, second.data_ts, second.stamp) == ("POST_TELEMETRY_REQUEST", 20, 1001)
    assert (posted.type, posted.metadata["scope"]) == ("POST_ATTRIBUTES_REQUEST", "SHARED_SCOPE")
