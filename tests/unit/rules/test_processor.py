"""A node as the runner sees it: decode, call, route."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.errors import (
    RecordTooLarge,
    Undecodable,
)
from edgeferry.core.events import EdgeEvent
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Emit, End, Leaving, NodeSpec, Output, failure
from edgeferry.core.record import Outgoing
from edgeferry.log.codec import (
    decode_cloud_event,
    decode_edge_event,
    decode_message,
)
from edgeferry.rules.inputs import input_topics
from edgeferry.rules.processor import (
    NodeFailure,
    RuleNodeProcessor,
    RuleSite,
    UndeclaredRelation,
    rule_processors,
)
from edgeferry.streams.processor import Outputs
from tests.unit.rules.one_node import (
    EVENT,
    HEADERS,
    MESSAGE,
    UNDECODABLE,
    Node,
    leave_by,
    numbered,
    raising,
    record,
)

pytestmark = pytest.mark.asyncio


class TestRouting:
    async def test_a_message_goes_to_every_target_of_its_relation(self) -> None:
        node = Node(leave_by("True"), wires={"True": ("next", "other"), "False": ("entry",)})
        outputs = await node.run(record())
        assert [out.topic for out in outputs.records] == ["edge.chain.next", "edge.chain.other"]
        assert outputs.dead == []

    async def test_a_message_may_leave_by_several_relations(self) -> None:
        node = Node(leave_by("True", "False"), wires={"True": ("next",), "False": ("other",)})
        outputs = await node.run(record())
        assert [out.topic for out in outputs.records] == ["edge.chain.next", "edge.chain.other"]

    async def test_relations_match_in_any_case(self) -> None:
        node = Node(leave_by("TRUE", "success"), wires={"true": ("next",), "Success": ("other",)})
        outputs = await node.run(record(), record())
        assert [out.topic for out in outputs.records] == [
            "edge.chain.next",
            "edge.chain.other",
        ] * 2

    async def test_order_is_kept(self) -> None:
        outputs = await Node(leave_by("Success")).run(*numbered(5))
        found = [decode_message(out.value).id for out in outputs.records]
        assert found == ["m0", "m1", "m2", "m3", "m4"]

    async def test_an_unchanged_message_keeps_its_bytes_key_and_headers(self) -> None:
        given = record()
        outputs = await Node(leave_by("Success")).run(given)
        (out,) = outputs.records
        assert out.value is given.value
        assert out.headers is given.headers
        assert out.key == b"device"

    async def test_a_changed_message_is_encoded_again(self) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", message.with_metadata(added="yes"))

        given = record()
        outputs = await Node(process).run(given)
        (out,) = outputs.records
        assert decode_message(out.value) == MESSAGE.with_metadata(added="yes")
        assert out.headers is given.headers

    async def test_a_changed_type_changes_its_header(self) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", message.with_(type="ALARM"))

        outputs = await Node(process).run(record())
        assert sorted(outputs.records[0].headers) == [
            ("traceparent", b"00-1"),
            ("type", b"ALARM"),
        ]

    async def test_another_originator_gets_its_own_key(self) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", dataclasses.replace(message, entity_id="asset-1"))

        outputs = await Node(process).run(record())
        assert outputs.records[0].key == b"asset-1"

    async def test_a_node_may_leave_nothing(self) -> None:
        outputs = await Node(leave_by()).run(record())
        assert (outputs.records, outputs.dead) == ([], [])

    async def test_the_node_gets_its_config(self) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", message.with_metadata(config=config))

        outputs = await Node(process).run(record())
        assert decode_message(outputs.records[0].value).metadata["config"] == "the node's config"


class TestEnds:
    async def test_an_unwired_relation_ends_the_message_and_is_counted(self) -> None:
        node = Node(leave_by("True"))
        outputs = await node.run(record(), record())
        assert (outputs.records, outputs.dead) == ([], [])
        assert node.ended == [("chain", "node", "True", 1)] * 2

    async def test_an_unwired_failure_is_a_dead_letter_with_its_reason(self) -> None:
        node = Node(lambda message, config: [failure(message, "no such key")])
        outputs = await node.run(record())
        (dead,) = outputs.dead
        assert isinstance(dead.error, NodeFailure)
        assert str(dead.error) == "node node: no such key"
        assert (outputs.records, node.ended) == ([], [])

    async def test_a_failure_without_a_reason_says_so(self) -> None:
        outputs = await Node(leave_by("failure")).run(record())
        assert "no reason given" in str(outputs.dead[0].error)

    async def test_a_wired_failure_is_followed(self) -> None:
        node = Node(
            lambda message, config: [failure(message, "no such key")],
            wires={"Failure": ("other",)},
        )
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        assert decode_message(out.value).metadata["error"] == "no such key"
        assert outputs.dead == []

    async def test_an_undeclared_relation_is_a_dead_letter(self) -> None:
        outputs = await Node(leave_by("Maybe")).run(record())
        (dead,) = outputs.dead
        assert isinstance(dead.error, UndeclaredRelation)
        assert "of type test left by 'Maybe'" in str(dead.error)

    async def test_a_message_that_dies_leaves_nothing_else(self) -> None:
        node = Node(lambda message, config: [Output("Success", message), failure(message, "no")])
        outputs = await node.run(record())
        assert outputs.records == []
        assert len(outputs.dead) == 1


class TestEmit:
    async def test_an_edge_event_is_keyed_by_its_edge(self) -> None:
        told = EdgeEvent("edge-1", "event-1", EVENT)
        node = Node(lambda message, config: [Emit("edge-events-ts", told)])
        (out,) = (await node.run(record())).records
        assert (out.topic, out.key, out.headers) == ("edge.edge-events-ts", b"edge-1", HEADERS)
        assert decode_edge_event(out.value).event.id == EVENT.id

    async def test_an_edge_event_too_large_is_a_failure_of_its_message(self) -> None:
        small, big = (EdgeEvent(edge, "", EVENT) for edge in ("edge-1", "e" * 2_000))
        node = Node(
            lambda message, config: [Emit("edge-events", small), Emit("edge-events", big)],
            wires={"Failure": ("other",)},
            max_record_bytes=1_000,
        )
        (out,) = (await node.run(record())).records
        assert out.topic == "edge.chain.other"

    async def test_an_end_is_counted_and_leads_nowhere(self) -> None:
        node = Node(lambda message, config: [End("No related edge")])
        assert (await node.run(record())).records == []
        assert node.ended == [("chain", "node", "No related edge", 1)]

    @pytest.mark.parametrize("channel", ["cloud-events", "cloud-events-ts"])
    async def test_an_event_goes_to_its_topic_under_the_messages_key(self, channel: Any) -> None:
        node = Node(lambda message, config: [Emit(channel, EVENT), Output("Success", message)])
        outputs = await node.run(record())
        event, passed = outputs.records
        assert event.topic == f"edge.{channel}"
        assert event.key == b"device"
        assert decode_cloud_event(event.value) == EVENT
        assert dict(event.headers)["traceparent"] == b"00-1"
        assert passed.topic == "edge.chain.next"

    async def test_an_event_too_large_is_a_failure_of_its_message(self) -> None:
        big = dataclasses.replace(EVENT, rpc="x" * 2_000)
        node = Node(
            lambda message, config: [Emit("cloud-events", big), Output("Success", message)],
            wires={"Success": ("next",), "Failure": ("other",)},
            max_record_bytes=1_000,
        )
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        error = decode_message(out.value).metadata["error"]
        assert error.endswith("bytes are above the limit of 1000")


class TestTooLarge:
    @staticmethod
    def _grow(message: RuleMessage, config: Any) -> Iterable[Leaving]:
        yield Output("Success", message.with_(data="x" * 2_000))

    async def test_an_output_too_large_takes_failure(self) -> None:
        wires = {"Success": ("next",), "Failure": ("other",)}
        node = Node(self._grow, wires=wires, max_record_bytes=1_000)
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        assert decode_message(out.value).data == MESSAGE.data

    async def test_an_output_too_large_is_a_dead_letter_where_failure_is_unwired(self) -> None:
        outputs = await Node(self._grow, max_record_bytes=1_000).run(record())
        (dead,) = outputs.dead
        assert isinstance(dead.error, NodeFailure)
        assert "above the limit of 1000" in str(dead.error)

    async def test_a_record_that_came_in_too_large_is_a_dead_letter(self) -> None:
        big = record(dataclasses.replace(MESSAGE, data="x" * 2_000))
        wires = {"Success": ("next",), "Failure": ("other",)}
        by_type = Node(
            leave_by("Success"), by_type=lambda _: "Success", wires=wires, max_record_bytes=1_000
        )
        for node in (
            Node(leave_by("Success"), wires=wires, max_record_bytes=1_000),
            by_type,
        ):
            outputs = await node.run(big)
            assert outputs.records == []
            assert isinstance(outputs.dead[0].error, RecordTooLarge)

    async def test_a_record_of_exactly_the_limit_passes(self) -> None:
        given = record()
        assert given.value is not None
        node = Node(leave_by("Success"), max_record_bytes=len(given.value))
        assert len((await node.run(given)).records) == 1


class TestSwitch:
    @staticmethod
    def _node(**wires: tuple[str, ...]) -> Node:
        def by_type(message_type: str) -> str:
            return "True" if message_type == "POST_TELEMETRY_REQUEST" else "False"

        return Node(raising(AssertionError("not called")), by_type=by_type, wires=wires)

    async def test_the_header_decides_and_the_body_is_not_looked_at(self) -> None:
        given = record()._replace(value=UNDECODABLE)
        outputs = await self._node(true=("next", "other")).run(given)
        assert outputs.records == [
            Outgoing(f"edge.chain.{name}", b"device", UNDECODABLE, HEADERS)
            for name in ("next", "other")
        ]
        assert outputs.records[0].headers is given.headers

    async def test_without_a_header_the_message_decides(self) -> None:
        outputs = await self._node(true=("next",)).run(record()._replace(headers=()))
        assert [out.topic for out in outputs.records] == ["edge.chain.next"]

    async def test_without_a_header_an_undecodable_record_dies(self) -> None:
        bad = record()._replace(headers=(), value=UNDECODABLE)
        outputs = await self._node(true=("next",)).run(bad, record())
        assert len(outputs.records) == 1
        assert [type(dead.error) for dead in outputs.dead] == [Undecodable]

    async def test_an_empty_record_dies(self) -> None:
        outputs = await self._node(true=("next",)).run(record()._replace(value=None))
        assert outputs.records == []
        assert [type(dead.error) for dead in outputs.dead] == [Undecodable]

    async def test_an_unwired_relation_is_counted(self) -> None:
        node = self._node(true=("next",))
        odd = record()._replace(headers=(("type", b"\xff odd"),))
        outputs = await node.run(odd, record())
        assert len(outputs.records) == 1
        assert node.ended == [("chain", "node", "False", 1)]


class TestNames:
    def _chain(self) -> Chain:
        nodes = {name: ChainNode(name, "test", None) for name in ("entry", "save")}
        return Chain("alarms", 1, "entry", nodes, (Wire("entry", "Success", ("save",)),))

    def _processors(self, *, root: bool) -> Sequence[Any]:
        spec = NodeSpec("test", "", object, process=leave_by("Success"))
        chain = self._chain()
        above = Chain("above", 1, "call", {"call": ChainNode("call", "test", None)}, ())
        chains = Chains(chain) if root else Chains(above, (chain,))
        site = RuleSite("edge", chains, "edge:key", {}, 1_000, lambda *_: None)
        return rule_processors(chain, {"test": spec}, site)

    async def test_the_root_chains_entry_reads_the_sites_root_topic(self) -> None:
        processors = self._processors(root=True)
        assert [p.topics for p in processors] == [("edge.root",), ("edge.alarms.save",)]
        assert input_topics("edge", self._chain(), root=True) == ["edge.root", "edge.alarms.save"]

    async def test_another_chains_entry_reads_its_own(self) -> None:
        processors = self._processors(root=False)
        assert [p.topics for p in processors] == [("edge.alarms",), ("edge.alarms.save",)]
        assert input_topics("edge", self._chain(), root=False) == [
            "edge.alarms",
            "edge.alarms.save",
        ]

    async def test_a_nodes_group_is_its_topic(self) -> None:
        for processor in self._processors(root=True):
            assert isinstance(processor, RuleNodeProcessor)
            assert (processor.name,) == processor.topics
            assert processor.chain == "alarms"
        assert [p.node for p in self._processors(root=True)] == ["entry", "save"]

    async def test_what_leaves_a_node_arrives_where_the_next_one_reads(self) -> None:
        entry, save = self._processors(root=True)
        outputs = Outputs()
        await entry.process([record()], outputs)
        assert (outputs.records[0].topic,) == save.topics
