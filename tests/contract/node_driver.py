"""Runs a node as the runner does, without one: for tests of nodes."""

import json
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeferry.core.message import DataType, RuleMessage
from edgeferry.core.node import (
    AttributesDelete,
    AttributesWrite,
    Leaving,
    NodeSpec,
    TimeseriesWrite,
)
from edgeferry.core.store import DeletedKey, TimeseriesDelete
from edgeferry.rules.config import build_config

MESSAGE_ID = "5f0a7f66-0000-4000-8000-000000000001"
DEVICE_ID = "9f7c1f80-5b1e-11f0-8000-0242ac120002"
TENANT_ID = "8f1c6a10-5b1e-11f0-8000-0242ac120002"
EDGES = ("1e7c1f80-5b1e-11f0-8000-0242ac120002", "2e7c1f80-5b1e-11f0-8000-0242ac120002")
TS = 1_700_000_000_000
STAMP = TS * 1000


def message(
    *,
    type: str = "POST_TELEMETRY_REQUEST",
    data: object = None,
    metadata: Mapping[str, str] | None = None,
    entity_type: str = "DEVICE",
    entity_id: str = DEVICE_ID,
    ts: int = TS,
    stamp: int = STAMP,
) -> RuleMessage:
    """``data``: text as it is, anything else as JSON."""
    return RuleMessage(
        id=MESSAGE_ID,
        tenant_id=TENANT_ID,
        ts=ts,
        stamp=stamp,
        stack=[],
        type=type,
        entity_type=entity_type,
        entity_id=entity_id,
        metadata=dict(metadata or {}),
        data_type=DataType.JSON,
        data=data if isinstance(data, str) else json.dumps(data),
    )


@dataclass
class MemoryPort:
    """Takes saves and deletes; raises ``error`` while it has one."""

    saved: list[Any] = field(default_factory=list)
    error: Exception | None = None

    async def save(
        self, writes: Sequence[TimeseriesWrite] | Sequence[AttributesWrite]
    ) -> Sequence[Mapping[str, int]]:
        """Of attributes the first has version 1, and so on."""
        if self.error is not None:
            raise self.error
        self.saved += writes
        numbers = range(len(self.saved) - len(writes) + 1, len(self.saved) + 1)
        return [
            dict.fromkeys(write.values, number) if isinstance(write, AttributesWrite) else {}
            for number, write in zip(numbers, writes, strict=True)
        ]

    async def delete(self, delete: TimeseriesDelete) -> Sequence[DeletedKey]:
        if self.error is not None:
            raise self.error
        self.saved.append(delete)
        return ()

    async def delete_attributes(self, deletes: Sequence[AttributesDelete]) -> None:
        if self.error is not None:
            raise self.error
        self.saved += deletes

    async def related(self, entities: Sequence[tuple[str, str]]) -> Sequence[Sequence[str]]:
        """Every device is assigned to two edges, nothing else to any."""
        if self.error is not None:
            raise self.error
        return [EDGES if entity_type == "DEVICE" else () for entity_type, _ in entities]


class NodeUnderTest:
    """One node instance with its config, its state and a port in memory."""

    def __init__(self, spec: NodeSpec, options: object = None) -> None:
        problems: list[str] = []
        config = build_config(
            spec.config, options or {}, lambda path, problem: problems.append(f"{path}: {problem}")
        )
        assert not problems, problems
        self.spec = spec
        self.port = MemoryPort()
        self._config = config
        self._arguments: tuple[Any, ...] = (config,)
        if spec.port:
            self._arguments += (self.port,)
        if spec.state:
            self._arguments += (spec.state(config),)

    def run(self, *messages: RuleMessage) -> list[list[Leaving]]:
        """What leaves for each message, in the order of the messages."""
        if self.spec.process is not None:
            return [list(self.spec.process(one, self._config)) for one in messages]
        assert self.spec.process_batch is not None
        results = _finished(self.spec.process_batch(messages, *self._arguments))
        return [list(leaving) for leaving in results]


def _finished(work: Awaitable[Any]) -> Any:
    """The result of what never waits, as with a port in memory: without an event loop, so
    that a test can do it thousands of times."""
    try:
        next(work.__await__())
    except StopIteration as done:
        return done.value
    raise AssertionError("a node waited for something that is not its port")
