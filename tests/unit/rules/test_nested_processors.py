"""Messages on their way into nested chains and back: the callers travel in the message."""

import dataclasses

import pytest

from edgeferry.core.chain import NESTING_MAX, Chain, ChainNode, Chains, Wire
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.codec import decode_message, encode_message
from edgeferry.rules.nested import NO_CALLER, UnknownCaller
from edgeferry.rules.nodes import output, rule_chain
from edgeferry.rules.processor import NodeFailure, RuleSite, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.streams.processor import Outputs, Processor

pytestmark = pytest.mark.asyncio

DEVICE = "9f7c1f80-5b1e-11f0-8000-0242ac120002"
MESSAGE = RuleMessage(
    "5f0a7f66-0000-4000-8000-000000000001", "t", 5, 6, [], "POST_TELEMETRY_REQUEST", "DEVICE",
    DEVICE, {"deviceName": "pump"}, "JSON", '{"a": 1}',
)  # fmt: skip
HEADERS = (("traceparent", b"00-1"), ("type", b"POST_TELEMETRY_REQUEST"))


def chain(name: str, callee: str, *wires: Wire) -> Chain:
    """Its input calls ``callee``; outputs ``good`` and ``failure``, and a node ``next``."""
    nodes = {
        "call": ChainNode("call", "rule_chain", rule_chain.Config(callee)),
        "good": ChainNode("good", "output", output.Config()),
        "failure": ChainNode("failure", "output", output.Config()),
        "next": ChainNode("next", "output", output.Config()),
    }
    return Chain(name, 1, "call", nodes, wires)


TOP = chain("top", "inner", Wire("call", "GOOD", ("next",)))
INNER = chain("inner", "deep", Wire("call", "good", ("good",)), Wire("call", "Failure", ("next",)))
DEEP = chain("deep", "none")


class Site:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str, str, int]] = []
        site = RuleSite(
            site="cloud",
            chains=Chains(TOP, (INNER, DEEP)),
            origin="cloud",
            ports={},
            max_record_bytes=100_000,
            ended=lambda *what: self.ended.append(what),
        )
        self.processors: dict[str, Processor] = {
            processor.name: processor
            for one in (TOP, INNER, DEEP)
            for processor in rule_processors(one, NODES, site)
        }

    async def at(self, topic: str, message: RuleMessage) -> Outputs:
        outputs = Outputs()
        key = message.entity_id.encode()
        record = Record(topic, 0, 0, 1, key, encode_message(message), HEADERS)
        await self.processors[topic].process([record], outputs)
        return outputs


def only(outputs: Outputs) -> Outgoing:
    (left,) = outputs.records
    assert not outputs.dead
    return left


async def test_a_message_goes_in_and_comes_back_by_the_name_of_the_output() -> None:
    site = Site()
    called = only(await site.at("cloud.root", MESSAGE))
    inside = decode_message(called.value)
    assert (called.topic, called.key) == ("cloud.inner", DEVICE.encode())
    assert list(called.headers) == list(HEADERS)
    assert inside == dataclasses.replace(MESSAGE, stack=["top/call"])

    deeper = decode_message(only(await site.at("cloud.inner", inside)).value)
    assert deeper.stack == ["top/call", "inner/call"]

    back = only(await site.at("cloud.deep.good", deeper))
    assert back.topic == "cloud.inner.good"
    out = only(await site.at("cloud.inner.good", decode_message(back.value)))
    assert out.topic == "cloud.top.next"
    assert decode_message(out.value) == MESSAGE
    assert not site.ended


async def test_one_chain_returns_to_whoever_called_it() -> None:
    site = Site()
    for stack, topic in (["top/call"], "cloud.top.next"), (["inner/call"], "cloud.inner.good"):
        returned = only(await site.at("cloud.deep.good", dataclasses.replace(MESSAGE, stack=stack)))
        assert returned.topic == topic


async def test_what_comes_back_by_a_relation_without_a_wire_ends_at_the_caller() -> None:
    site = Site()
    outputs = await site.at("cloud.inner.next", dataclasses.replace(MESSAGE, stack=["top/call"]))
    assert (outputs.records, outputs.dead) == ([], [])
    assert site.ended == [("top", "call", "next", 1)]


async def test_an_output_named_failure_is_the_callers_failure() -> None:
    site = Site()
    failed = MESSAGE.with_metadata(error="no answer")
    inner = await site.at("cloud.deep.failure", failed.with_(stack=["inner/call"]))
    assert only(inner).topic == "cloud.inner.next"
    unwired = await site.at("cloud.deep.failure", failed.with_(stack=["top/call"]))
    (dead,) = unwired.dead
    assert isinstance(dead.error, NodeFailure)
    assert str(dead.error) == "node call of chain top: no answer"
    assert not site.ended


async def test_an_output_that_nobody_called_is_an_end_that_is_counted() -> None:
    site = Site()
    assert (await site.at("cloud.top.next", MESSAGE)).records == []
    assert site.ended == [("top", "next", NO_CALLER, 1)]


@pytest.mark.parametrize("called_by", ["gone/call", "top/gone", "nonsense", ""])
async def test_a_caller_that_is_gone_makes_a_dead_letter_that_can_be_replayed(
    called_by: str,
) -> None:
    outputs = await Site().at("cloud.deep.good", MESSAGE.with_(stack=[called_by]))
    (dead,) = outputs.dead
    assert isinstance(dead.error, UnknownCaller)
    assert "replay this dead letter" in str(dead.error)
    assert outputs.records == []


async def test_a_message_that_is_too_deep_inside_takes_failure() -> None:
    site = Site()
    deep = MESSAGE.with_(stack=["top/call"] * NESTING_MAX)
    wired = only(await site.at("cloud.inner", deep))
    assert wired.topic == "cloud.inner.next"
    assert "nested deeper" in decode_message(wired.value).metadata["error"]
    (dead,) = (await site.at("cloud.root", deep)).dead
    assert isinstance(dead.error, NodeFailure)


async def test_a_repeated_message_makes_the_same_bytes() -> None:
    first = await Site().at("cloud.root", MESSAGE)
    assert (await Site().at("cloud.root", MESSAGE)).records == first.records
