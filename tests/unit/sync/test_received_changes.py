"""From a received event to a change: versions and origins kept, nobody forged."""

import json
from collections.abc import Callable

import pytest

from edgeferry.core.body import DeletedValues, deleted_timeseries
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


@pytest.mark.parametrize(("ahead", "end"), [(b"-3600000", 4_600_000), (b"600000", 400_000)])
def test_the_time_of_a_command_is_over_at_the_same_moment_by_the_clock_here(
    ahead: bytes, end: int
) -> None:
    told = {"requestUUID": RPC_ID, "method": "on", "expirationTime": 1_000_000}
    queued = change(down(event("RPC_CALL", rpc=json.dumps(told)), [("clock", ahead)]))
    assert isinstance(queued, RpcChange)
    assert json.loads(queued.body) == {**told, "expirationTime": end}


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


def test_a_devices_own_call_enters_the_clouds_chain_with_whose_it_is() -> None:
    call = {"requestId": "7", "serviceId": "gw", "sessionId": "s", "method": "getTime"}
    (made,) = up(
        event("RPC_CALL", rpc=json.dumps({**call, "params": '{"n": 10000000000000000000000}'}))
    )
    message = decode_message(made.value)
    assert made.topic == "cloud.root"
    assert dict(made.headers)["type"] == b"TO_SERVER_RPC_REQUEST"
    assert (message.type, message.entity_id) == ("TO_SERVER_RPC_REQUEST", DEVICE)
    assert message.data == '{"method":"getTime","params":{"n": 10000000000000000000000}}'
    assert message.metadata == {
        "requestId": "7", "serviceId": "gw", "sessionId": "s", "source": "edge", "edgeId": EDGE,
        "deviceName": "Thermometer", "deviceType": "default",
    }  # fmt: skip
    nobodys = {"requestId": None, "method": "m", "params": "null"}
    (made,) = up(event("RPC_CALL", rpc=json.dumps(nobodys)))
    assert "requestId" not in decode_message(made.value).metadata


def test_the_answer_to_a_devices_call_goes_to_its_session_at_the_edge() -> None:
    answer = {"requestId": "7", "serviceId": "gw", "sessionId": "s", "response": '{"now": 5}'}
    (made,) = down(event("RPC_CALL", rpc=json.dumps(answer)))
    message = decode_message(made.value)
    assert (made.topic, made.key) == ("edge.device-commands", DEVICE.encode())
    assert (message.type, message.data) == ("TO_SERVER_RPC_RESPONSE", '{"now": 5}')
    whose = {name: message.metadata[name] for name in ("requestId", "serviceId", "sessionId")}
    assert whose == {"requestId": "7", "serviceId": "gw", "sessionId": "s"}


@pytest.mark.parametrize(
    ("take", "rpc"),
    [
        (up, {"params": "{}"}),
        (up, {"method": "m", "params": {}}),
        (up, {"method": "m", "params": "{"}),
        (down, {"requestId": "7", "serviceId": "gw", "response": "{}"}),
        (down, {"requestId": "7", "serviceId": "gw", "sessionId": "s"}),
        (down, []),
    ],
)
def test_a_devices_call_that_cannot_be_read_is_dead(
    take: Callable[[CloudEvent], list[Outgoing]], rpc: object
) -> None:
    with pytest.raises(Undecodable):
        take(event("RPC_CALL", rpc=json.dumps(rpc)))


@pytest.mark.parametrize(
    ("take", "topic", "source"),
    [(up, "cloud.root", "edge"), (down, "edge.root", "cloud")],
)
def test_deleted_values_enter_the_receivers_chain_with_their_stamp(
    take: Callable[[CloudEvent], list[Outgoing]], topic: str, source: str
) -> None:
    wanted = DeletedValues(["a"], 1, 2, True, False)
    (made,) = take(event("TIMESERIES_DELETED", entity=wanted.text()))
    message = decode_message(made.value)
    assert (made.topic, message.type, message.stamp) == (topic, "TIMESERIES_DELETED", 1000)
    assert message.metadata["source"] == source
    assert deleted_timeseries(message) == wanted


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


@pytest.mark.parametrize("version", [-1, 2**62 + 1, 2**63 - 1, "7", True])
def test_a_version_of_an_entity_that_none_can_follow_is_refused(version: object) -> None:
    with pytest.raises(Undecodable, match="no plausible"):
        up(event("UPDATED", entity=json.dumps({"name": "Boiler", "version": version})))
