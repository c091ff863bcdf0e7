"""What the log refuses of one message costs that message alone: by its own limit, whichever."""

import asyncio
import json
import random

import pytest
from faust.types import TP

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.clock import SystemClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Headers, Outgoing
from edgeferry.log.codec import (
    decode_cloud_event,
    decode_dead_letter,
    decode_message,
    encode_message,
)
from edgeferry.log.topics import TopicSettings
from edgeferry.rules.nodes import log as log_node
from edgeferry.rules.nodes import push_to_cloud
from edgeferry.rules.processor import RuleSite, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.streams.delivery import Batch
from edgeferry.streams.worker import Environment, Worker
from tests.integration.log.topics_of_tests import limit_topic
from tests.integration.streams.beds import Bed, Gate
from tests.unit.streams.fakes import FakeMetrics

pytestmark = pytest.mark.asyncio

CONFIG = log_node.Config()
NAMES = ("first", "next", "failed", "push")
EVENTS = "cloud-events-ts"
SMALL, LARGE, COUNT = 100, 8_000, 40
LIMIT = 4_000
HUGE: Headers = [("huge", random.Random(1).randbytes(3_000_000))]


def chain(*wires: Wire) -> Chain:
    nodes = {name: ChainNode(name, "log", CONFIG) for name in NAMES}
    nodes["push"] = ChainNode("push", "push_to_cloud", push_to_cloud.Config())
    after = [Wire(name, "Success", ("next",)) for name in ("first", "push")]
    return Chain("chain", 1, "first", nodes, (*after, *wires))


FAILURE_WIRED = chain(*(Wire(name, "Failure", ("failed",)) for name in ("first", "push")))


def message(number: int, size: int) -> RuleMessage:
    return RuleMessage(
        f"m{number}", "t", 1, 1, [], "POST_TELEMETRY_REQUEST", "DEVICE", "d", {}, "JSON",
        json.dumps({"a": random.Random(number).randbytes(size // 2).hex()}),
    )  # fmt: skip


class Hop:
    """One batch through a node that passes all on, on a real log."""

    def __init__(self, bed: Bed, of: Chain, gate: Gate | None = None, node: str = "first") -> None:
        self._node = node
        self.bed = bed
        self._chain = of
        self._writer = gate or bed.writer
        self._transactions = bed.transactions and (gate or bed.transactions)
        self.metrics = FakeMetrics()

    async def topics(self) -> None:
        names = [f"{self.bed.site}.chain.{name}" for name in NAMES]
        await self.bed.log.topics.ensure(
            [
                *(TopicSettings(name, "RuleMessage", 1, None) for name in names),
                TopicSettings(f"{self.bed.site}.{EVENTS}", "CloudEvent", 1, None),
            ]
        )

    async def limit(self, kafka: str, name: str, limit: int) -> None:
        await asyncio.to_thread(limit_topic, kafka, f"{self.bed.site}.{name}", limit)

    async def run(self, rows: list[tuple[int, Headers]]) -> None:
        """Of messages of these sizes, until it is done."""
        site, log = self.bed.site, self.bed.log
        topic = f"{site}.chain.{self._node}"
        await log.writer.append(
            [
                Outgoing(topic, b"d", encode_message(message(number, size)))
                for number, (size, _) in enumerate(rows)
            ]
        )
        read = await log.reader.read(topic, 0, 0, 10_000_000, 5_000)
        given = [
            record._replace(headers=list(headers))
            for record, (_, headers) in zip(read, rows, strict=True)
        ]
        shared = RuleSite(
            site, Chains(self._chain), "cloud", {}, log.writer.max_record_bytes, lambda *_: None
        )
        (processor,) = rule_processors(self._chain, NODES, shared, nodes=[self._node])
        environment = Environment(site, self._writer, SystemClock(), self._transactions)
        batch = Batch(given, {TP(topic, 0): given[-1].offset + 1})
        await Worker(processor, environment, self.metrics).run(batch)
        assert batch.done

    async def came(self, name: str) -> list[RuleMessage]:
        return [decode_message(row.value) for row in await self.bed.read_all(f"chain.{name}")]

    async def letters(self) -> list[DeadLetter]:
        return [decode_dead_letter(row.value) for row in await self.bed.read_all("dead-letters")]


def ids(found: list[RuleMessage]) -> list[str]:
    """In the order in which each came first."""
    return list(dict.fromkeys(one.id for one in found))


def all_but(*large: int) -> list[str]:
    return [f"m{number}" for number in range(COUNT) if number not in large]


def rows(*large: int) -> list[tuple[int, Headers]]:
    return [(LARGE if number in large else SMALL, ()) for number in range(COUNT)]


async def test_what_a_topic_refuses_by_its_own_limit_takes_failure_and_all_others_pass(
    on_kafka: Bed, kafka: str
) -> None:
    hop = Hop(on_kafka, FAILURE_WIRED)
    await hop.topics()
    await hop.limit(kafka, "chain.next", LIMIT)
    await hop.run(rows(7, 31))
    assert ids(await hop.came("next")) == all_but(7, 31)
    failed = await hop.came("failed")
    assert ids(failed) == ["m7", "m31"]
    assert "above" in failed[0].metadata["error"]
    assert await hop.letters() == []


async def test_a_message_whose_event_is_refused_takes_failure_and_not_success_too(
    on_kafka: Bed, kafka: str
) -> None:
    hop = Hop(on_kafka, FAILURE_WIRED, node="push")
    await hop.topics()
    await hop.limit(kafka, EVENTS, LIMIT)
    await hop.run(rows(7, 31))
    assert ids(await hop.came("next")) == all_but(7, 31)
    assert ids(await hop.came("failed")) == ["m7", "m31"]
    events = [decode_cloud_event(row.value) for row in await on_kafka.read_all(EVENTS)]
    assert len({event.id for event in events}) == COUNT - 2


async def test_it_is_a_dead_letter_where_no_failure_is_wired(on_kafka: Bed, kafka: str) -> None:
    hop = Hop(on_kafka, chain())
    await hop.topics()
    await hop.limit(kafka, "chain.next", LIMIT)
    await hop.run(rows(0))
    assert ids(await hop.came("next")) == all_but(0)
    assert {letter.offset for letter in await hop.letters()} == {0}
    assert hop.metrics.dead_letters == 1


async def test_many_that_are_too_large_together_alone_are_nobodys_failure(
    on_kafka: Bed, kafka: str
) -> None:
    hop = Hop(on_kafka, FAILURE_WIRED)
    await hop.topics()
    await hop.limit(kafka, "chain.next", 500)
    await hop.run(rows())
    assert ids(await hop.came("next")) == all_but()
    assert await hop.came("failed") == []
    assert await hop.letters() == []


async def test_dead_letters_that_cannot_be_written_stop_the_node_and_say_what_to_do(
    on_kafka: Bed, kafka: str
) -> None:
    hop = Hop(on_kafka, chain())
    await hop.topics()
    await hop.limit(kafka, "chain.next", LIMIT)
    await hop.limit(kafka, "dead-letters", LIMIT)
    with pytest.raises(Stop, match=r"dead-letters.*Raise the limit of that topic"):
        await hop.run(rows(3))


async def test_key_and_headers_count_on_every_log(bed: Bed) -> None:
    hop = Hop(bed, FAILURE_WIRED)
    await hop.topics()
    given = rows()
    given[5] = (SMALL, HUGE)
    await hop.run(given)
    assert ids(await hop.came("next")) == all_but(5)
    # its Failure has the same headers: it is kept as a dead letter, which takes a whole record
    assert {letter.offset for letter in await hop.letters()} == {5}


async def test_a_log_that_is_away_is_nobodys_failure(bed: Bed) -> None:
    gate = bed.gate()
    gate.opened.set()
    gate.failures = [LogUnavailable("away"), LogUnavailable("away")]
    hop = Hop(bed, FAILURE_WIRED, gate)
    await hop.topics()
    await hop.run(rows())
    assert ids(await hop.came("next")) == all_but()
    assert (await hop.came("failed"), await hop.letters()) == ([], [])
    assert hop.metrics.retries == 2
