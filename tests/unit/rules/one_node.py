"""A processor of one node, and what goes in."""

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from edgeferry.core.chain import Chain, ChainNode, Chains, Wire
from edgeferry.core.events import CloudEvent
from edgeferry.core.kv import TsPoint
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Leaving, NodeSpec, Output
from edgeferry.core.record import Record
from edgeferry.log.codec import (
    encode_message,
)
from edgeferry.rules.processor import (
    RuleSite,
    rule_processors,
)
from edgeferry.streams.processor import Outputs

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


def leave_by(*relations: str) -> Process:
    def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
        return [Output(relation, message) for relation in relations]

    return process


def raising(error: Exception) -> Process:
    def process(message: RuleMessage, config: Any) -> Iterable[Leaving]:
        raise error

    return process
