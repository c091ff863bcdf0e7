"""The table of what a push node makes of a message (semantics of the field, 1.1), line by line,
for both push nodes, and what it must not trip over."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import pytest

from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import Scope
from edgeferry.core.message import DataType, RuleMessage
from edgeferry.core.message_type import MessageType as T
from edgeferry.core.node import ERROR_KEY, DeviceCall, Emit, End, Leaving, Output
from edgeferry.core.push import BODIES, ORIGINATORS
from edgeferry.rules.nodes import push_to_cloud, push_to_edge

DEVICE = "9f7c1f80-5b1e-11f0-8000-0242ac120002"
ALARM = "1f7c1f80-5b1e-11f0-8000-0242ac120002"
EDGES = ("edge-1", "edge-2")
TS = 1_700_000_000_000
VALUES = {"a": 1}
ALARMED = {"id": {"entityType": "ALARM", "id": ALARM}, "severity": "MAJOR"}
ASKED = {"method": "getTime", "params": {"zone": "UTC"}}
WHOSE = {"requestId": "7", "serviceId": "gw", "sessionId": "s"}
ACTIVITY = (T.CONNECT_EVENT, T.DISCONNECT_EVENT, T.ACTIVITY_EVENT, T.INACTIVITY_EVENT)
ALARMS = (T.ALARM, T.ALARM_CREATED, T.ALARM_UPDATED, T.ALARM_SEVERITY_UPDATED)
SCOPED = {"scope": "SERVER_SCOPE"}


class Line(NamedTuple):
    """Of the table. lane: suffix of the channel. body: the field of the event that is set."""

    type: T
    data: object
    metadata: Mapping[str, str]
    action: str
    lane: str
    body: str


def telemetry(type_: T, data: object = VALUES) -> Line:
    return Line(type_, data, {}, "TIMESERIES_UPDATED", "-ts", "timeseries")


TABLE = (
    telemetry(T.POST_TELEMETRY_REQUEST),
    telemetry(T.TIMESERIES_UPDATED, {"timeseries": [{"ts": TS, "values": VALUES}]}),
    Line(T.POST_ATTRIBUTES_REQUEST, VALUES, SCOPED, "POST_ATTRIBUTES", "", "attributes"),
    Line(T.ATTRIBUTES_UPDATED, VALUES, SCOPED, "ATTRIBUTES_UPDATED", "", "attributes"),
    Line(
        T.ATTRIBUTES_DELETED, {"attributes": ["a"]}, SCOPED, "ATTRIBUTES_DELETED", "",
        "attribute_keys",
    ),
    *(telemetry(type_) for type_ in ACTIVITY),
    *(Line(type_, VALUES, SCOPED, "ATTRIBUTES_UPDATED", "", "attributes") for type_ in ACTIVITY),
    *(Line(type_, ALARMED, {"isNewAlarm": "true"}, "ADDED", "", "alarm") for type_ in ALARMS),
    *(
        Line(type_, ALARMED, {"isClearedAlarm": "true"}, "ALARM_CLEAR", "", "alarm")
        for type_ in ALARMS
    ),
    *(Line(type_, ALARMED, {}, "UPDATED", "", "alarm") for type_ in ALARMS),
    Line(T.ALARM_ACK, ALARMED, {"isNewAlarm": "true"}, "ALARM_ACK", "", "alarm"),
    Line(T.ALARM_CLEAR, ALARMED, {"isNewAlarm": "true"}, "ALARM_CLEAR", "", "alarm"),
    Line(
        T.TIMESERIES_DELETED, {"timeseries": ["a"], "startTs": 1, "endTs": 2}, {},
        "TIMESERIES_DELETED", "-ts", "entity",
    ),
)  # fmt: skip
UP_ONLY = (Line(T.TO_SERVER_RPC_REQUEST, ASKED, WHOSE, "RPC_CALL", "", "rpc"),)
BODY_FIELDS = ("timeseries", "attributes", "attribute_keys", "rpc", "alarm", "entity")


def message(
    type_: str,
    data: object = None,
    metadata: Mapping[str, str] | None = None,
    entity_type: str = "DEVICE",
) -> RuleMessage:
    return RuleMessage(
        "5f0a7f66-0000-4000-8000-000000000001", "t", TS, 17, [], type_, entity_type, DEVICE,
        metadata or {}, DataType.JSON, json.dumps(VALUES if data is None else data),
    )  # fmt: skip


class Push(Protocol):
    def __call__(self, given: RuleMessage, scope: Scope = ...) -> list[Leaving]: ...


class Related:
    async def related(self, entities: Sequence[tuple[str, str]]) -> Sequence[Sequence[str]]:
        return [EDGES for _ in entities]


def up(given: RuleMessage, scope: Scope = Scope.SERVER) -> list[Leaving]:
    return list(push_to_cloud.process(given, push_to_cloud.Config(scope)))


def down(given: RuleMessage, scope: Scope = Scope.SERVER) -> list[Leaving]:
    work = push_to_edge.process_batch([given], push_to_edge.Config(scope), Related())
    with pytest.raises(StopIteration) as done:
        work.send(None)
    (leaving,) = done.value.value
    return list(leaving)


def events(leaving: Iterable[Leaving]) -> list[tuple[str, CloudEvent]]:
    """Channel and event; after them the message leaves by Success."""
    *emitted, last = leaving
    assert isinstance(last, Output)
    assert last.relation == "Success"
    found: list[tuple[str, CloudEvent]] = []
    for item in emitted:
        assert isinstance(item, Emit)
        event = item.event.event if isinstance(item.event, EdgeEvent) else item.event
        assert isinstance(event, CloudEvent)
        found.append((item.channel, event))
    return found


def refusal(leaving: Iterable[Leaving]) -> str:
    (only,) = leaving
    assert isinstance(only, Output)
    assert only.relation == "Failure"
    return only.message.metadata[ERROR_KEY]


def check(line: Line, channel: str, event: CloudEvent) -> None:
    assert channel.endswith(f"-events{line.lane}")
    assert event.action == line.action
    assert [name for name in BODY_FIELDS if getattr(event, name) is not None] == [line.body]
    about = ("ALARM", ALARM) if line.body == "alarm" else ("DEVICE", DEVICE)
    assert (event.type, event.entity_id) == about
    assert (event.entity_type, event.stamp, event.created_time) == (about[0], 17, TS)


@pytest.mark.parametrize("line", [*TABLE, *UP_ONLY], ids=lambda line: f"{line.type} {line.action}")
def test_the_table_of_the_push_nodes_up(line: Line) -> None:
    ((channel, event),) = events(up(message(line.type, line.data, line.metadata)))
    check(line, channel, event)


@pytest.mark.parametrize("line", TABLE, ids=lambda line: f"{line.type} {line.action}")
def test_the_table_of_the_push_nodes_down(line: Line) -> None:
    found = events(down(message(line.type, line.data, line.metadata)))
    assert len({event.id for _, event in found}) == len(EDGES)
    for channel, event in found:
        check(line, channel, event)


def test_the_table_is_complete() -> None:
    assert {line.type for line in (*TABLE, *UP_ONLY)} == set(BODIES)


@pytest.mark.parametrize("type_", ["ENTITY_CREATED", "RPC_QUEUED", "CUSTOM", ""])
def test_a_type_that_is_not_in_the_table_takes_failure(type_: str) -> None:
    for push in (up, down):
        assert refusal(push(message(type_))) == f"Unsupported msg type {type_}"


COMMAND = T.RPC_CALL_FROM_SERVER_TO_DEVICE


def command(leaving: Iterable[Leaving]) -> DeviceCall:
    """What goes to the owner of commands; after it the message leaves by Success."""
    wanted, passed = leaving
    assert isinstance(wanted, DeviceCall)
    assert isinstance(passed, Output)
    assert (passed.relation, passed.message) == ("Success", wanted.message)
    return wanted


def test_a_command_goes_down_by_the_owner_of_commands_and_nobody_waits_for_its_outcome() -> None:
    given = message(COMMAND, ASKED, {"oneway": "true", "expirationTime": "99"})
    wanted = command(down(given))
    assert (wanted.answered, wanted.message) == (False, given)
    assert (wanted.request["method"], wanted.request["params"]) == ("getTime", {"zone": "UTC"})
    assert (wanted.request["oneway"], wanted.request["expirationTime"]) == (True, 99)
    assert wanted.rpc_id not in ("", given.id)
    assert command(down(given)).rpc_id == wanted.rpc_id


def test_a_command_that_is_known_keeps_its_id() -> None:
    known = "1f7c1f80-5b1e-11f0-8000-0242ac120002"
    assert command(down(message(COMMAND, ASKED, {"requestUUID": known}))).rpc_id == known


def test_a_command_never_goes_up() -> None:
    assert refusal(up(message(COMMAND, ASKED))) == f"Unsupported msg type {COMMAND}"


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        ({}, {}), ([1], {}), ({"method": ""}, {}), ({"method": "m"}, {}), ({"params": 1}, {}),
        (ASKED, {"requestUUID": "7"}), (ASKED, {"expirationTime": "soon"}),
    ],
)  # fmt: skip
def test_what_is_no_command_takes_failure(data: object, metadata: Mapping[str, str]) -> None:
    assert refusal(down(message(COMMAND, data, metadata)))


def test_a_command_goes_to_a_device_alone() -> None:
    assert "originator" in refusal(down(message(COMMAND, ASKED, entity_type="ASSET")))


def test_a_call_of_a_device_is_the_clouds_and_goes_to_no_edge() -> None:
    assert "TO_SERVER_RPC_REQUEST" in refusal(down(message(T.TO_SERVER_RPC_REQUEST, ASKED, WHOSE)))


def test_originators_that_nothing_can_be_stored_for_take_failure() -> None:
    for entity_type in ("RULE_CHAIN", "RULE_NODE", "ALARM", "UNKNOWN", ""):
        for push in (up, down):
            given = message(T.POST_TELEMETRY_REQUEST, entity_type=entity_type)
            assert refusal(push(given)) == f"Unsupported originator type {entity_type}"
    for known in ORIGINATORS:
        for push in (up, down):
            assert events(push(message(T.POST_TELEMETRY_REQUEST, entity_type=known)))


def test_the_loop_guard_comes_first_and_is_blind_to_case() -> None:
    for text in ("cloud", "Cloud", "CLOUD"):
        for type_ in (T.POST_TELEMETRY_REQUEST, "ENTITY_CREATED"):
            guarded = message(type_, metadata={"source": text})
            assert up(guarded) == [End(push_to_cloud.FROM_CLOUD)]
    for text in ("edge", "Edge", "EDGE"):
        for type_ in (T.POST_TELEMETRY_REQUEST, "ENTITY_CREATED"):
            guarded = message(type_, metadata={"source": text})
            assert down(guarded) == [End(push_to_edge.FROM_EDGE)]
    assert events(up(message(T.POST_TELEMETRY_REQUEST, metadata={"source": "edge"})))
    assert events(down(message(T.POST_TELEMETRY_REQUEST, metadata={"source": "cloud"})))


@pytest.mark.parametrize("push", [up, down], ids=["up", "down"])
class TestTraps:
    """Where the field's own software loses or changes data."""

    def test_telemetry_saved_through_rest_is_points_and_no_key_named_timeseries(
        self, push: Push
    ) -> None:
        data = {"timeseries": [{"ts": TS, "values": {"a": 1}}, {"ts": TS + 1, "values": {"a": 2}}]}
        for _, event in events(push(message(T.TIMESERIES_UPDATED, data))):
            assert event.timeseries == [(TS, {"a": 1}), (TS + 1, {"a": 2})]
        posted = {"timeseries": [1], "a": 2}  # a device may have a key of this name
        for _, event in events(push(message(T.POST_TELEMETRY_REQUEST, posted))):
            assert event.timeseries == [(TS, posted)]

    def test_a_telemetry_body_that_is_an_array_is_not_lost(self, push: Push) -> None:
        for _, event in events(push(message(T.POST_TELEMETRY_REQUEST, [{"a": 1}, {"b": 2}]))):
            assert [dict(point.values) for point in event.timeseries or ()] == [{"a": 1}, {"b": 2}]

    def test_several_timestamps_in_one_message_stay_several_points(self, push: Push) -> None:
        data = [{"ts": TS, "values": {"a": 1}}, {"ts": TS + 1, "values": {"a": 1}}]
        for _, event in events(push(message(T.POST_TELEMETRY_REQUEST, data))):
            assert event.timeseries == [(TS, {"a": 1}), (TS + 1, {"a": 1})]

    def test_equal_messages_stay_two_events(self, push: Push) -> None:
        first, second = message(T.POST_TELEMETRY_REQUEST), message(T.POST_TELEMETRY_REQUEST)
        second.id = "5f0a7f66-0000-4000-8000-000000000002"
        ids = [event.id for one in (first, second) for _, event in events(push(one))]
        assert len(set(ids)) == len(ids)

    def test_two_scopes_of_one_message_stay_two_events(self, push: Push) -> None:
        given = message(T.POST_ATTRIBUTES_REQUEST)
        ids = [
            event.id
            for scope in (Scope.SERVER, Scope.SHARED)
            for _, event in events(push(given, scope))
        ]
        assert len(set(ids)) == len(ids)

    def test_the_scope_of_the_message_goes_before_that_of_the_node(self, push: Push) -> None:
        for said, wanted in (("SHARED_SCOPE", Scope.SHARED), ("", Scope.SERVER)):
            for type_ in (T.POST_ATTRIBUTES_REQUEST, T.ATTRIBUTES_UPDATED):
                for _, event in events(push(message(type_, metadata={"scope": said}))):
                    assert event.attributes is not None
                    assert event.attributes.scope is wanted

    def test_the_time_is_that_of_the_data(self, push: Push) -> None:
        timed = {"ts": "5"}
        for _, event in events(push(message(T.POST_TELEMETRY_REQUEST, metadata=timed))):
            assert event.timeseries == [(5, VALUES)]
        for _, event in events(push(message(T.POST_ATTRIBUTES_REQUEST, metadata=timed))):
            assert event.attributes is not None
            assert event.attributes.ts == 5

    def test_an_event_of_a_repeated_message_is_the_same(self, push: Push) -> None:
        given = message(T.POST_TELEMETRY_REQUEST)
        assert events(push(given)) == events(push(given))
