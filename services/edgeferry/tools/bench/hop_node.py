"""The node's process of ``bench hop``: one node, run as every node is run.

``python -m edgeferry.tools.bench.hop_node SETTINGS`` (JSON) prints ``ready`` when it reads,
holds the first batch back until a line comes in, and ends with its standard input.
"""

import asyncio
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import uvloop
from prometheus_client import CollectorRegistry

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.clock import SystemClock
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import SUCCESS, NodeSpec, Output
from edgeferry.core.record import Record
from edgeferry.log.open import open_log
from edgeferry.rules.inputs import input_topic
from edgeferry.rules.processor import RuleSite, rule_processors
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.process import spare_the_collector
from edgeferry.runtime.settings import Settings
from edgeferry.streams.open import open_transport
from edgeferry.streams.processor import Outputs, Processor, TopicPartition
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment

SITE = "bench"
MARKED = "benchMark"


@dataclass(frozen=True, slots=True)
class Config:
    def validate(self) -> Iterable[str]:
        return ()


def mark(message: RuleMessage, config: Config) -> Iterable[Output]:
    """Changes every message, so that it has to be encoded again."""
    yield Output(SUCCESS, message.with_metadata(**{MARKED: "1"}))


MARK = NodeSpec(type="mark", summary="adds metadata", config=Config, process=mark)
CHAIN = Chain(
    name="hop",
    version=1,
    input="mark",
    nodes={name: ChainNode(name, "mark", Config()) for name in ("mark", "end")},
    wires=(Wire("mark", SUCCESS, ("end",)),),
)
INPUT = input_topic(SITE, CHAIN, "mark", root=True)
OUTPUT = input_topic(SITE, CHAIN, "end", root=True)


class Gated:
    """A processor that holds its first batch back until ``gate`` is set."""

    def __init__(self, inner: Processor, gate: asyncio.Event) -> None:
        self._inner = inner
        self._gate = gate
        self.name = inner.name
        self.chain = inner.chain
        self.node = inner.node
        self.topics = inner.topics

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        await self._gate.wait()
        await self._inner.process(records, outputs)

    async def delivered(self, records: Sequence[Record]) -> None:
        await self._inner.delivered(records)

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        await self._inner.assigned(committed)


async def _main(settings: Settings) -> None:
    clock, metrics, gate = SystemClock(), Metrics(CollectorRegistry()), asyncio.Event()
    log = open_log(settings=settings.log, data=settings.data, clock=clock)
    site = RuleSite(
        site=SITE,
        chains=Chains(CHAIN),
        origin=SITE,
        ports={},
        max_record_bytes=log.writer.max_record_bytes,
        ended=metrics.ended,
    )
    processors = rule_processors(CHAIN, {"mark": MARK}, site, nodes=["mark"])
    transport, transactions = open_transport(log, "0")
    runner = Runner(
        [Gated(processor, gate) for processor in processors],
        transport,
        Environment(site=SITE, writer=log.writer, clock=clock, transactions=transactions),
        metrics,
    )
    await log.start()
    await runner.start()
    await runner.ready()
    spare_the_collector()  # as in the process of a site
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    gate.set()
    await asyncio.to_thread(sys.stdin.read)
    await runner.stop()
    await log.stop()


if __name__ == "__main__":
    uvloop.run(_main(Settings.model_validate_json(sys.argv[1])))
