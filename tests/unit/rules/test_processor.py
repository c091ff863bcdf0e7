"""A node as the runner sees it: decode, call, route."""

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.errors import (
    InvalidPayload,
    RecordTooLarge,
    Stop,
    StoreUnavailable,
    Undecodable,
    UnknownSchema,
)
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import TsPoint
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Emit, End, Leaving, NodeSpec, Output, failure
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.codec import (
    decode_cloud_event,
    decode_edge_event,
    decode_message,
    encode_message,
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

pytestmark = pytest.mark.asyncio

MESSAGE = RuleMessage(
    id="5f0a7f66-0000-4000-8000-000000000001",
    tenant_id="8f1c6a10-5b1e-11f0-8000-0242ac120002",
    ts=1_700_000_000_000,
    stamp=1_700_000_000_000_001,
    stack=[],
    type="POST_TELEMETRY_REQUEST",
    entity_type="DEVICE",
    entity_id="9f7c1f80-5b1e-11f0-8000-0242ac120002",
    metadata={"deviceName": "sensor-17"},
    data_type="JSON",
    data='{"temperature": 21.5}',
)
EVENT = CloudEvent(
    id="event-1",
    created_time=MESSAGE.ts,
    stamp=MESSAGE.stamp,
    tenant_id=MESSAGE.tenant_id,
    action="TIMESERIES_UPDATED",
    type="DEVICE",
    entity_type="DEVICE",
    entity_id=MESSAGE.entity_id,
    entity_name="sensor-17",
    entity_profile="default",
    timeseries=[TsPoint(MESSAGE.ts, {"temperature": 21.5})],
)
HEADERS = (("traceparent", b"00-1"), ("type", b"POST_TELEMETRY_REQUEST"))
UNDECODABLE = b"\xff\xff"

Process = Callable[[RuleMessage, Any], Iterable[Leaving]]
ProcessBatch = Callable[..., Awaitable[Sequence[Iterable[Leaving]]]]


def record(message: RuleMessage = MESSAGE, offset: int = 0) -> Record:
    return Record(
        "edge.chain.node", 3, offset, MESSAGE.ts, b"device", encode_message(message), HEADERS
    )


def numbered(count: int) -> list[Record]:
    return [record(dataclasses.replace(MESSAGE, id=f"m{i}"), i) for i in range(count)]


class Node:
    """A processor of one node, ``node``, whose relations lead to nodes of the same chain."""

    def __init__(
        self,
        process: Process | None = None,
        *,
        process_batch: ProcessBatch | None = None,
        by_type: Callable[[str], str] | None = None,
        wires: Mapping[str, tuple[str, ...]] | None = None,
        relations: tuple[str, ...] = ("True", "False"),
        port: object | None = None,
        max_record_bytes: int = 1_000_000,
    ) -> None:
        wires = {"Success": ("next",)} if wires is None else wires
        spec = NodeSpec(
            type="test",
            summary="",
            config=object,
            relations=relations,
            process=process,
            process_batch=process_batch,
            by_type=by_type,
            port="timeseries" if port is not None else None,
        )
        config = "the node's config"
        chain = Chain(
            "chain",
            1,
            "entry",
            {name: ChainNode(name, "test", config) for name in ("entry", "node", "next", "other")},
            tuple(Wire("node", relation, targets) for relation, targets in wires.items()),
        )
        self.ended: list[tuple[str, str, str, int]] = []
        site = RuleSite(
            site="edge",
            chains=Chains(chain),
            origin="edge:key",
            ports={} if port is None else {"timeseries": port},
            max_record_bytes=max_record_bytes,
            ended=lambda *what: self.ended.append(what),
        )
        (self.processor,) = rule_processors(chain, {"test": spec}, site, nodes=["node"])

    async def run(self, *rows: Record) -> Outputs:
        outputs = Outputs()
        await self.processor.process(rows, outputs)
        return outputs


def _leave_by(*relations: str) -> Process:
    def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
        return [Output(relation, message) for relation in relations]

    return process


def _raise(error: Exception) -> Process:
    def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
        raise error

    return process


class TestRouting:
    async def test_a_message_goes_to_every_target_of_its_relation(self) -> None:
        node = Node(_leave_by("True"), wires={"True": ("next", "other"), "False": ("entry",)})
        outputs = await node.run(record())
        assert [out.topic for out in outputs.records] == ["edge.chain.next", "edge.chain.other"]
        assert outputs.dead == []

    async def test_a_message_may_leave_by_several_relations(self) -> None:
        node = Node(_leave_by("True", "False"), wires={"True": ("next",), "False": ("other",)})
        outputs = await node.run(record())
        assert [out.topic for out in outputs.records] == ["edge.chain.next", "edge.chain.other"]

    async def test_relations_match_in_any_case(self) -> None:
        node = Node(_leave_by("TRUE", "success"), wires={"true": ("next",), "Success": ("other",)})
        outputs = await node.run(record(), record())
        assert [out.topic for out in outputs.records] == [
            "edge.chain.next",
            "edge.chain.other",
        ] * 2

    async def test_order_is_kept(self) -> None:
        outputs = await Node(_leave_by("Success")).run(*numbered(5))
        found = [decode_message(out.value).id for out in outputs.records]
        assert found == ["m0", "m1", "m2", "m3", "m4"]

    async def test_an_unchanged_message_keeps_its_bytes_key_and_headers(self) -> None:
        given = record()
        outputs = await Node(_leave_by("Success")).run(given)
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
        outputs = await Node(_leave_by()).run(record())
        assert (outputs.records, outputs.dead) == ([], [])

    async def test_the_node_gets_its_config(self) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", message.with_metadata(config=config))

        outputs = await Node(process).run(record())
        assert decode_message(outputs.records[0].value).metadata["config"] == "the node's config"


class TestEnds:
    async def test_an_unwired_relation_ends_the_message_and_is_counted(self) -> None:
        node = Node(_leave_by("True"))
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
        outputs = await Node(_leave_by("failure")).run(record())
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
        outputs = await Node(_leave_by("Maybe")).run(record())
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
            _leave_by("Success"), by_type=lambda _: "Success", wires=wires, max_record_bytes=1_000
        )
        for node in (
            Node(_leave_by("Success"), wires=wires, max_record_bytes=1_000),
            by_type,
        ):
            outputs = await node.run(big)
            assert outputs.records == []
            assert isinstance(outputs.dead[0].error, RecordTooLarge)

    async def test_a_record_of_exactly_the_limit_passes(self) -> None:
        given = record()
        assert given.value is not None
        node = Node(_leave_by("Success"), max_record_bytes=len(given.value))
        assert len((await node.run(given)).records) == 1


class TestBadRecords:
    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (None, Undecodable),
            (b"", Undecodable),
            (UNDECODABLE, Undecodable),
            (b"\0\0\0\3\xe7rest", UnknownSchema),
        ],
    )
    async def test_an_undecodable_record_dies_and_the_others_pass(
        self, value: bytes | None, error: type[Exception]
    ) -> None:
        async def process_batch(
            messages: Sequence[RuleMessage], config: Any
        ) -> Sequence[Iterable[Leaving]]:
            return [[Output("Success", message)] for message in messages]

        for node in (Node(_leave_by("Success")), Node(process_batch=process_batch)):
            good, bad, also_good = numbered(3)
            bad = bad._replace(value=value)
            outputs = await node.run(good, bad, also_good)
            assert [decode_message(out.value).id for out in outputs.records] == ["m0", "m2"]
            (dead,) = outputs.dead
            assert dead.record is bad
            assert isinstance(dead.error, error)

    async def test_a_batch_of_nothing_decodable_does_not_reach_the_node(self) -> None:
        async def process_batch(messages: Sequence[RuleMessage], config: Any) -> Any:
            raise AssertionError("nothing to process")

        outputs = await Node(process_batch=process_batch).run(record()._replace(value=UNDECODABLE))
        assert len(outputs.dead) == 1

    async def test_a_node_that_raises_costs_that_message_alone(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            yield Output("Success", message)
            if message.id == "m1":
                raise ZeroDivisionError("a bug")

        wires = {"Success": ("next",), "Failure": ("other",)}
        with caplog.at_level(logging.ERROR):
            outputs = await Node(process, wires=wires).run(*numbered(3))
        assert [decode_message(out.value).id for out in outputs.records] == ["m0", "m2"]
        (dead,) = outputs.dead
        assert isinstance(dead.error, ZeroDivisionError)
        assert "a bug" in caplog.text

    @pytest.mark.parametrize(
        "bad",
        [
            {"ts": 2**63},
            {"data": "\ud800"},
            {"metadata": {"count": 1}},
        ],
    )
    async def test_a_message_that_cannot_be_encoded_costs_itself_alone(
        self, bad: Mapping[str, Any]
    ) -> None:
        def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
            changed = dataclasses.replace(message, **bad if message.id == "m1" else {})
            yield Output("Success", changed)

        outputs = await Node(process).run(*numbered(3))
        assert [decode_message(out.value).id for out in outputs.records] == ["m0", "m2"]
        assert [dead.record.offset for dead in outputs.dead] == [1]

    async def test_a_node_that_refuses_a_message_sends_it_along_failure(self) -> None:
        node = Node(_raise(InvalidPayload("no number")), wires={"Failure": ("other",)})
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        assert decode_message(out.value).metadata["error"] == "no number"

    async def test_a_node_that_refuses_a_message_makes_a_dead_letter_where_failure_is_unwired(
        self,
    ) -> None:
        outputs = await Node(_raise(InvalidPayload("no number"))).run(record())
        assert str(outputs.dead[0].error) == "node node: no number"

    @pytest.mark.parametrize("error", [StoreUnavailable("away"), Stop("wrong setting")])
    async def test_later_and_stop_concern_the_whole_batch(self, error: Exception) -> None:
        async def process_batch(messages: Sequence[RuleMessage], config: Any) -> Any:
            raise error

        for node in (Node(_raise(error)), Node(process_batch=process_batch)):
            with pytest.raises(type(error)):
                await node.run(record())


class TestBatches:
    async def test_results_follow_the_order_of_the_messages(self) -> None:
        async def process_batch(
            messages: Sequence[RuleMessage], config: Any
        ) -> Sequence[Iterable[Leaving]]:
            return [
                [Output("True" if i % 2 else "False", message)]
                for i, message in enumerate(messages)
            ]

        node = Node(process_batch=process_batch, wires={"True": ("next",), "False": ("other",)})
        outputs = await node.run(*numbered(3))
        found = [(out.topic, decode_message(out.value).id) for out in outputs.records]
        assert found == [
            ("edge.chain.other", "m0"),
            ("edge.chain.next", "m1"),
            ("edge.chain.other", "m2"),
        ]

    async def test_a_refusal_of_a_batch_goes_to_the_runner_until_one_is_alone(self) -> None:
        async def process_batch(messages: Sequence[RuleMessage], config: Any) -> Any:
            raise InvalidPayload("one of them is bad")

        node = Node(process_batch=process_batch, wires={"Failure": ("other",)})
        with pytest.raises(InvalidPayload):
            await node.run(*numbered(2))
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        assert decode_message(out.value).metadata["error"] == "one of them is bad"

    async def test_a_node_that_forgets_a_message_is_found_out(self) -> None:
        async def process_batch(
            messages: Sequence[RuleMessage], config: Any
        ) -> Sequence[Iterable[Leaving]]:
            return []

        with pytest.raises(ValueError, match="shorter"):
            await Node(process_batch=process_batch).run(record())

    async def test_a_port_that_caches_hears_when_partitions_move(self) -> None:
        class Caching:
            changes = 0

            def ownership_changed(self) -> None:
                self.changes += 1

        async def process_batch(messages: Sequence[RuleMessage], config: Any, port: Any) -> Any:
            assert port is caching
            return [[] for _ in messages]

        caching = Caching()
        node = Node(process_batch=process_batch, port=caching)
        await node.processor.assigned({})
        await node.run(record())
        await node.processor.delivered([record()])
        assert caching.changes == 1


class TestSwitch:
    @staticmethod
    def _node(**wires: tuple[str, ...]) -> Node:
        def by_type(message_type: str) -> str:
            return "True" if message_type == "POST_TELEMETRY_REQUEST" else "False"

        return Node(_raise(AssertionError("not called")), by_type=by_type, wires=wires)

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
        spec = NodeSpec("test", "", object, process=_leave_by("Success"))
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
