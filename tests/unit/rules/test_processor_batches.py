"""A node and its batch: bad records, errors, and the order of the results."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from edgeferry.core.errors import (
    InvalidPayload,
    Stop,
    StoreUnavailable,
    Undecodable,
    UnknownSchema,
)
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Leaving, Output
from edgeferry.log.codec import (
    decode_message,
)
from tests.unit.rules.one_node import (
    UNDECODABLE,
    Node,
    leave_by,
    numbered,
    raising,
    record,
)

pytestmark = pytest.mark.asyncio


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

        for node in (Node(leave_by("Success")), Node(process_batch=process_batch)):
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
        node = Node(raising(InvalidPayload("no number")), wires={"Failure": ("other",)})
        outputs = await node.run(record())
        (out,) = outputs.records
        assert out.topic == "edge.chain.other"
        assert decode_message(out.value).metadata["error"] == "no number"

    async def test_a_node_that_refuses_a_message_makes_a_dead_letter_where_failure_is_unwired(
        self,
    ) -> None:
        outputs = await Node(raising(InvalidPayload("no number"))).run(record())
        assert str(outputs.dead[0].error) == "node node: no number"

    @pytest.mark.parametrize("error", [StoreUnavailable("away"), Stop("wrong setting")])
    async def test_later_and_stop_concern_the_whole_batch(self, error: Exception) -> None:
        async def process_batch(messages: Sequence[RuleMessage], config: Any) -> Any:
            raise error

        for node in (Node(raising(error)), Node(process_batch=process_batch)):
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
