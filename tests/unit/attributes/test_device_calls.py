"""Commands that rule nodes send: executed once, and their outcome told once."""

import json
from typing import Any

import pytest

from edgeferry.core.changes import CLOUD_ORIGIN, RpcChange, RpcStatus, edge_origin
from edgeferry.core.device_call import with_address
from edgeferry.core.message import RuleMessage
from tests.unit.attributes.memory import DEVICE, EDGE_A, NODE, Site, cloud, edge

NOW = 1_700_000_000_000
A = edge_origin(EDGE_A)
MESSAGE = RuleMessage(
    "m-1", "t", NOW, NOW, ["top/call"], "POST_TELEMETRY_REQUEST", "DEVICE", DEVICE,
    {"deviceName": "pump"}, "JSON", '{"method": "on"}',
)  # fmt: skip
REQUEST = {"method": "on", "params": {}, "persisted": False, "timeout": 5_000}


def call(
    id_: str = "1", message: RuleMessage = MESSAGE, origin: str = CLOUD_ORIGIN, **changed: Any
) -> RpcChange:
    body = json.dumps(with_address({**REQUEST, **changed}, NODE, message))
    return RpcChange(id_, "t", DEVICE, "rpc-1", RpcStatus.QUEUED, origin, NOW, body)


def news(id_: str, status: RpcStatus, body: str = "", origin: str = CLOUD_ORIGIN) -> RpcChange:
    return RpcChange(id_, "t", DEVICE, "rpc-1", status, origin, NOW + 7, body)


def done(site: Site, *changes: RpcChange) -> Site:
    for one in changes:
        site.put(one)
        site.handle()
    return site


def said(site: Site) -> list[dict[str, str]]:
    return [json.loads(one.data) for one in site.outcomes]


def test_the_answer_goes_to_the_node_as_what_the_message_was() -> None:
    site = done(cloud(), call(), news("2", RpcStatus.SENT), news("3", RpcStatus.DELIVERED))
    assert not site.outcomes
    done(site, news("4", RpcStatus.SUCCESSFUL, '{"ok": 1}'))
    (told,) = site.outcomes
    assert said(site) == [{"answer": '{"ok": 1}', "type": "POST_TELEMETRY_REQUEST"}]
    assert (told.type, told.stack, told.metadata) == (
        "RPC_OUTCOME", ["top/call"], {"deviceName": "pump"},
    )  # fmt: skip
    assert (told.entity_id, told.ts, told.stamp) == (DEVICE, NOW + 7, (NOW + 7) * 1000)


def test_a_command_has_an_end_from_the_moment_it_is_kept_and_tells_no_address() -> None:
    site = done(cloud(EDGE_A), call())
    kept = json.loads(site.rpcs.known["rpc-1"].request)
    assert kept["expirationTime"] == NOW + 5_000
    (event,) = site.down[EDGE_A]
    told = json.loads(event.rpc or "")
    assert told["expirationTime"] == NOW + 5_000
    assert not {"replyTo", "timeout", "madeHere"} & told.keys()
    mine = json.loads(done(cloud(), call(persisted=True)).root[0].data)
    assert not {"replyTo", "timeout", "madeHere"} & mine.keys()


def test_an_expiry_of_the_message_goes_before_the_nodes_time() -> None:
    site = done(cloud(), call(expirationTime=NOW + 1))
    assert json.loads(site.rpcs.known["rpc-1"].request)["expirationTime"] == NOW + 1


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (RpcStatus.TIMEOUT, '{"error": "the device did not answer"}', "TIMEOUT"),
        (RpcStatus.EXPIRED, "", "TIMEOUT"),
        (RpcStatus.FAILED, '{"error": "no such pin"}', "no such pin"),
        (RpcStatus.FAILED, '"no"', "no"),
        (RpcStatus.FAILED, "", "FAILED"),
        (RpcStatus.DELETED, "", "DELETED"),
    ],
)
def test_no_answer_says_why(status: RpcStatus, body: str, error: str) -> None:
    site = done(cloud(), call(), news("2", status, body))
    assert said(site) == [{"error": error, "type": "POST_TELEMETRY_REQUEST"}]


def test_news_after_the_outcome_are_told_to_nobody() -> None:
    site = done(
        cloud(), call(), news("2", RpcStatus.TIMEOUT), news("3", RpcStatus.EXPIRED),
        news("4", RpcStatus.SUCCESSFUL, "{}"),
    )  # fmt: skip
    assert [one["error"] for one in said(site)] == ["TIMEOUT"]


def test_a_one_way_command_is_through_when_the_device_has_it() -> None:
    site = done(cloud(), call(oneway=True), news("2", RpcStatus.SENT))
    assert not site.outcomes
    done(site, news("3", RpcStatus.DELIVERED), news("4", RpcStatus.SUCCESSFUL))
    assert [one["answer"] for one in said(site)] == ["{}"]


def test_a_persistent_command_is_answered_at_once_with_its_id() -> None:
    site = done(cloud(), call(persisted=True), news("2", RpcStatus.SUCCESSFUL, '{"ok": 1}'))
    assert [json.loads(one["answer"]) for one in said(site)] == [{"rpcId": "rpc-1"}]
    assert [one.type for one in site.root] == ["RPC_QUEUED", "RPC_SUCCESSFUL"]


def test_a_repeated_message_is_no_second_command() -> None:
    site = done(cloud(), call(), news("2", RpcStatus.SUCCESSFUL, "{}"), call())
    assert (len(site.commands), len(site.outcomes)) == (1, 1)


def test_another_message_with_the_same_request_id_is_told_so() -> None:
    other = MESSAGE.with_metadata()
    other.id = "m-2"
    site = done(cloud(), call(), call("9", other))
    assert len(site.commands) == 1
    assert "was sent before" in said(site)[0]["error"]


@pytest.mark.parametrize("oneway", [True, False])
def test_a_crash_before_the_outcome_was_written_loses_it_not(oneway: bool) -> None:
    site = done(cloud(), call(oneway=oneway))
    for one in (news("2", RpcStatus.DELIVERED), news("3", RpcStatus.SUCCESSFUL, "{}")):
        site.put(one)
    site.handle(outputs=False, commit=False)
    assert not site.outcomes
    site.handle()
    assert len(site.outcomes) == 1


def test_a_crash_after_it_was_written_tells_it_again_by_the_same_message() -> None:
    site = done(cloud(), call())
    site.put(news("2", RpcStatus.SUCCESSFUL, "{}"))
    site.handle(commit=False)
    site.handle()
    first, again = site.outcomes
    assert first == again


def test_no_other_site_says_where_an_outcome_goes() -> None:
    below = done(edge(EDGE_A), call(), news("2", RpcStatus.SUCCESSFUL, "{}", A))
    assert not below.outcomes
    assert len(below.up) == 1
    assert "replyTo" not in below.rpcs.known["rpc-1"].request


def test_the_cloud_hears_nothing_of_an_edges_own_commands() -> None:
    below = done(edge(EDGE_A), call(origin=A), news("2", RpcStatus.SUCCESSFUL, '"on"', A))
    assert not below.up
    assert len(below.commands) == 1
    assert [one["answer"] for one in said(below)] == ['"on"']


def test_a_node_that_is_in_no_chain_any_more_holds_nothing_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = json.dumps(with_address(REQUEST, "site.gone.call", MESSAGE))
    wish = RpcChange("1", "t", DEVICE, "rpc-1", RpcStatus.QUEUED, CLOUD_ORIGIN, NOW, body)
    site = done(cloud(), wish, news("2", RpcStatus.SUCCESSFUL, "{}"))
    assert not site.outcomes
    assert "site.gone.call" in caplog.text
