"""A node that sends a device a command: what it wishes, and where the outcome comes to."""

import json
from collections.abc import Mapping, Sequence

import pytest

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.core.device_call import About, address_of, outcome_message
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.change_codec import decode_change
from edgeferry.log.codec import decode_message, encode_message
from edgeferry.rules.nodes import output, push_to_edge, rpc_call_request
from edgeferry.rules.processor import RuleSite, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.streams.processor import Outputs

pytestmark = pytest.mark.asyncio

DEVICE = "9f7c1f80-5b1e-11f0-8000-0242ac120002"
MESSAGE = RuleMessage(
    "5f0a7f66-0000-4000-8000-000000000001", "t", 5, 6, ["above/call"], "ANY", "DEVICE", DEVICE,
    {"deviceName": "pump"}, "JSON", '{"method": "on", "params": [1]}',
)  # fmt: skip
HEADERS = (("traceparent", b"00-1"), ("type", b"ANY"))
CALL = rpc_call_request.Config()
CHAIN = Chain(
    "chain", 1, "first",
    {
        "first": ChainNode("first", "rpc_call_request", CALL),
        "second": ChainNode("second", "rpc_call_request", CALL),
        "push": ChainNode("push", "push_to_edge", push_to_edge.Config()),
        "push_too": ChainNode("push_too", "push_to_edge", push_to_edge.Config()),
        "good": ChainNode("good", "output", output.Config()),
        "bad": ChainNode("bad", "output", output.Config()),
    },
    (
        Wire("first", "Success", ("second",)),
        Wire("second", "Success", ("good",)),
        Wire("second", "Failure", ("bad",)),
    ),
)  # fmt: skip


class Edges:
    """Whose one device is, or nobody's."""

    def __init__(self, *edges: str) -> None:
        self._edges = edges

    async def related(self, entities: Sequence[tuple[str, str]]) -> Sequence[Sequence[str]]:
        return [self._edges for _ in entities]


async def at(node: str, message: RuleMessage) -> Outgoing:
    """The one record that leaves it."""
    ports = {"edges": Edges("an-edge")}
    site = RuleSite("edge", Chains(CHAIN), "edge:key", ports, 100_000, lambda *_: None)
    (processor,) = rule_processors(CHAIN, NODES, site, nodes=[node])
    outputs = Outputs()
    record = Record("in", 0, 0, 1, DEVICE.encode(), encode_message(message), HEADERS)
    await processor.process([record], outputs)
    (left,) = outputs.records
    return left


async def wished(node: str, message: RuleMessage = MESSAGE) -> RpcChange:
    change = decode_change((await at(node, message)).value)
    assert isinstance(change, RpcChange)
    return change


def came(change: RpcChange, said: Mapping[str, str]) -> tuple[str, RuleMessage]:
    """The outcome of a command, and the topic that it comes to."""
    to = address_of(json.loads(change.body))
    assert to is not None
    return to.topic, outcome_message(to, About("t", "DEVICE", DEVICE, 9), said)


async def test_a_command_is_a_wish_to_the_owner_of_commands() -> None:
    left = await at("first", MESSAGE)
    assert (left.topic, left.key) == ("edge.attribute-changes", DEVICE.encode())
    assert list(left.headers) == [("origin", b"edge:key"), ("traceparent", b"00-1")]
    change = await wished("first")
    assert (change.status, change.device_id) == (RpcStatus.QUEUED, DEVICE)
    assert change.origin == "edge:key"
    body = json.loads(change.body)
    assert (body["method"], body["params"], body["timeout"]) == ("on", [1], 60_000)


async def test_a_repeated_message_is_the_same_command_and_each_node_has_its_own() -> None:
    first, again, second = await wished("first"), await wished("first"), await wished("second")
    assert first == again
    assert len({first.id, second.id, first.rpc_id, second.rpc_id, MESSAGE.id}) == 5


async def test_a_request_id_of_the_message_is_the_commands() -> None:
    given = "1f7c1f80-5b1e-11f0-8000-0242ac120002"
    assert (await wished("first", MESSAGE.with_metadata(requestUUID=given))).rpc_id == given


async def test_the_outcome_comes_to_the_node_that_sent_the_command() -> None:
    for node, topic in (("first", "edge.root"), ("second", "edge.chain.second")):
        assert came(await wished(node), {"answer": "{}"})[0] == topic


async def test_the_answer_goes_on_as_what_the_message_was() -> None:
    _, outcome = came(await wished("second"), {"answer": '{"ok": 1}'})
    left = await at("second", outcome)
    answered = decode_message(left.value)
    assert left.topic == "edge.chain.good"
    assert dict(left.headers)["type"] == b"ANY"
    assert (answered.type, answered.data) == ("ANY", '{"ok": 1}')
    assert (answered.stack, answered.metadata) == (["above/call"], {"deviceName": "pump"})
    assert answered.id == outcome.id != MESSAGE.id


async def test_no_answer_takes_failure_with_the_reason() -> None:
    _, outcome = came(await wished("second"), {"error": "TIMEOUT"})
    left = await at("second", outcome)
    failed = decode_message(left.value)
    assert left.topic == "edge.chain.bad"
    assert (failed.data, failed.metadata["error"]) == ('{"error": "TIMEOUT"}', "TIMEOUT")


PUSHED = MESSAGE.with_(type="RPC_CALL_FROM_SERVER_TO_DEVICE")


async def test_a_pushed_command_is_one_wish_whichever_nodes_push_it_and_has_no_address() -> None:
    first, second = await wished("push", PUSHED), await wished("push_too", PUSHED)
    assert first == await wished("push", PUSHED)
    assert first.rpc_id == second.rpc_id
    assert (first.status, first.device_id) == (RpcStatus.QUEUED, DEVICE)
    assert address_of(json.loads(first.body)) is None


async def test_a_command_for_a_device_at_no_edge_ends_which_is_counted() -> None:
    ended: list[tuple[str, str, str, int]] = []
    site = RuleSite(
        "edge", Chains(CHAIN), "edge:key", {"edges": Edges()}, 100_000,
        lambda *what: ended.append(what),
    )  # fmt: skip
    (processor,) = rule_processors(CHAIN, NODES, site, nodes=["push"])
    outputs = Outputs()
    record = Record("in", 0, 0, 1, DEVICE.encode(), encode_message(PUSHED), HEADERS)
    await processor.process([record], outputs)
    assert (outputs.records, outputs.dead) == ([], [])
    assert ended == [("chain", "push", "No related edge", 1)]
