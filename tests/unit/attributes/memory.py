"""Memory fakes of the ports, and two or more sites that exchange events."""

import asyncio
import atexit
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from edgeferry.attributes.commands import Commands
from edgeferry.attributes.device_calls import Outcomes
from edgeferry.attributes.entities import Entities
from edgeferry.attributes.facts import Here
from edgeferry.attributes.notifier import Applied
from edgeferry.attributes.processor import AttributesService
from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    RPC_OPEN,
    AttributeChange,
    Change,
    RpcStatus,
    edge_origin,
    expiry_of,
)
from edgeferry.core.clock import ManualClock
from edgeferry.core.events import CloudEvent
from edgeferry.core.kv import AttributeEntry, Scope, TsEntry, Value
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.core.store import (
    AttributesStore,
    Credentials,
    Decision,
    Entity,
    EntityKey,
    EntityStore,
    PastDecision,
    Rpc,
    RpcNews,
    RpcStore,
    TimeseriesStore,
    Told,
    VersionedAttribute,
)
from edgeferry.log.change_codec import encode_change
from edgeferry.log.codec import decode_cloud_event, decode_edge_event, decode_message
from edgeferry.store.decisions import Standing, decide, raised
from edgeferry.streams.processor import Outputs

T = TypeVar("T")
DEVICE = "11111111-1111-11f0-8000-000000000001"
EDGE_A = "eeeeeeee-1111-11f0-8000-00000000000a"
NODE = "site.chain.call"
"""A rule node that sends commands."""
EDGE_B = "eeeeeeee-1111-11f0-8000-00000000000b"


_LOOP = asyncio.new_event_loop()
atexit.register(_LOOP.close)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """To its end, also below a test that is a coroutine itself."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _LOOP.run_until_complete(coroutine)
    with ThreadPoolExecutor(1) as beside:
        return beside.submit(asyncio.run, coroutine).result()


class MemoryAttributes:
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.rows: dict[tuple[str, str, Scope, str], tuple[Standing, VersionedAttribute]] = {}

    async def apply(self, changes: Sequence[VersionedAttribute]) -> Sequence[Decision]:
        decided = []
        for change in changes:
            at = (change.entity_type, change.entity_id, change.scope, change.key)
            standing, row = self.rows.get(at, (Standing(), change))
            decision, after = decide(standing, change, self._clock.now_ms())
            moved = (after.version, after.origin) != (standing.version, standing.origin)
            self.rows[at] = (after, change if moved else row)
            decided.append(decision)
        return decided

    async def standing(
        self, entity_type: str, entity_id: str, scope: Scope, keys: Sequence[str] | None = None
    ) -> Sequence[VersionedAttribute]:
        return [
            row
            for at, (_, row) in sorted(self.rows.items())
            if at[:3] == (entity_type, entity_id, scope) and (keys is None or at[3] in keys)
        ]

    async def attributes(
        self, entity_type: str, entity_id: str, scope: Scope, keys: Sequence[str] | None = None
    ) -> Sequence[AttributeEntry]:
        return [
            AttributeEntry(row.key, row.value, row.last_update_ts, row.version)
            for row in await self.standing(entity_type, entity_id, scope, keys)
            if row.value is not None
        ]

    async def decisions(
        self, entity_type: str, entity_id: str, scope: Scope, key: str
    ) -> Sequence[PastDecision]:
        found = self.rows.get((entity_type, entity_id, scope, key))
        return found[0].decisions if found else ()

    async def delete_entity(self, entity_type: str, entity_id: str) -> None:
        self.rows = {at: row for at, row in self.rows.items() if at[:2] != (entity_type, entity_id)}

    def state(self) -> dict[tuple[Scope, str], tuple[Value | None, int]]:
        return {(at[2], at[3]): (row.value, row.version) for at, (_, row) in self.rows.items()}


class MemoryEntities:
    def __init__(self) -> None:
        self.known: dict[EntityKey, Entity] = {}
        self.kept: dict[EntityKey, Credentials] = {}
        self.edges: dict[EntityKey, set[str]] = {}

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        return {key: self.known[key] for key in keys if key in self.known}

    async def save_entities(self, entities: Sequence[Entity]) -> None:
        for one in entities:
            stands = self.known.get((one.entity_type, one.entity_id), one)
            if (one.version, one.origin) >= (stands.version, stands.origin):
                self.known[one.entity_type, one.entity_id] = one

    async def credentials(self, key: EntityKey) -> Credentials | None:
        return self.kept.get(key)

    async def save_credentials(self, credentials: Credentials) -> None:
        stands = self.kept.get((credentials.entity_type, credentials.entity_id), credentials)
        if (credentials.version, credentials.origin) >= (stands.version, stands.origin):
            self.kept[credentials.entity_type, credentials.entity_id] = credentials

    async def edges_of(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Sequence[str]]:
        return {key: sorted(self.edges[key]) for key in keys if self.edges.get(key)}

    async def assign(self, key: EntityKey, edge_id: str) -> None:
        self.edges.setdefault(key, set()).add(edge_id)

    async def unassign(self, key: EntityKey, edge_id: str) -> None:
        self.edges.get(key, set()).discard(edge_id)


class MemoryRpcs:
    def __init__(self) -> None:
        self.known: dict[str, Rpc] = {}

    async def create(self, rpc: Rpc) -> bool:
        return self.known.setdefault(rpc.rpc_id, rpc) is rpc

    async def advance(self, news: RpcNews) -> Told | None:
        before = self.known.get(news.rpc_id)
        if before is None:
            return None
        now = self.known[news.rpc_id] = raised(before, news)
        return Told(before, now)

    async def get(self, rpc_id: str) -> Rpc | None:
        return self.known.get(rpc_id)

    async def pending(self, device_id: str) -> Sequence[Rpc]:
        return [
            rpc
            for rpc in self.known.values()
            if rpc.device_id == device_id and rpc.status is RpcStatus.QUEUED
        ]

    async def page(
        self, device_id: str, status: RpcStatus | None, limit: int, skip: int
    ) -> tuple[Sequence[Rpc], int]:
        found = [rpc for rpc in self.known.values() if rpc.device_id == device_id]
        return found[skip : skip + limit], len(found)

    async def due(self, now_ms: int, limit: int) -> Sequence[Rpc]:
        ends = {rpc.rpc_id: expiry_of(rpc.request) for rpc in self.known.values()}
        due = [
            rpc
            for rpc in self.known.values()
            if rpc.status in RPC_OPEN and 0 < ends[rpc.rpc_id] <= now_ms
        ]
        return sorted(due, key=lambda rpc: ends[rpc.rpc_id])[:limit]

    async def expire(self, before_ms: int, limit: int) -> int:
        return 0


class MemoryTimeseries:
    def __init__(self) -> None:
        self.entries: list[TsEntry] = []

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]:
        return self.entries


class Site:
    """The service with its log of changes; ``sent``: events by edge, in order."""

    def __init__(
        self, origin: str, now_ms: int = 1_700_000_000_000, rpcs: MemoryRpcs | None = None
    ) -> None:
        self.here = Here("site", origin)
        self.clock = ManualClock(now_ms)
        self.attributes = MemoryAttributes(self.clock)
        self.entities = MemoryEntities()
        self.rpcs = rpcs or MemoryRpcs()
        self.timeseries = MemoryTimeseries()
        self.applied = Applied()
        self.late: list[int] = []
        self.log: list[Record] = []
        self.done = 0
        self.outputs = Outputs()
        self.root: list[RuleMessage] = []
        self.commands: list[RuleMessage] = []
        self.outcomes: list[RuleMessage] = []
        self.up: list[CloudEvent] = []
        self.down: dict[str, list[CloudEvent]] = {}
        self.service = AttributesService(
            here=self.here,
            attributes=cast(AttributesStore, self.attributes),
            entities=Entities(
                here=self.here,
                store=cast(EntityStore, self.entities),
                attributes=cast(AttributesStore, self.attributes),
                timeseries=cast(TimeseriesStore, self.timeseries),
            ),
            commands=Commands(
                here=self.here,
                store=cast(RpcStore, self.rpcs),
                outcomes=Outcomes(nodes={NODE}),
            ),
            applied=self.applied,
            clock=self.clock,
            late=self.late.append,
        )

    def put(self, change: Change) -> None:
        value = encode_change(change)
        at = len(self.log)
        self.log.append(
            Record("site.attribute-changes", 0, at, self.clock.now_ms(), b"", value, ())
        )

    def handle(self, size: int = 1_000_000, *, outputs: bool = True, commit: bool = True) -> None:
        """One batch. Without ``commit`` it comes again; ``outputs``: they left before."""
        batch = self.log[self.done : self.done + size]
        if not batch:
            return
        self.outputs = Outputs()
        run(self.service.process(batch, self.outputs))
        if outputs or commit:
            self._leave()
        if commit:
            run(self.service.delivered(batch))
            self.done += len(batch)

    def _leave(self) -> None:
        for record in self.outputs.records:
            match record.topic:
                case "site.root":
                    self.root.append(decode_message(record.value))
                case "site.device-commands":
                    self.commands.append(decode_message(record.value))
                case name if name == NODE:
                    self.outcomes.append(decode_message(record.value))
                case "site.cloud-events":
                    self.up.append(decode_cloud_event(record.value))
                case _:
                    event = decode_edge_event(record.value)
                    self.down.setdefault(event.edge_id, []).append(event.event)


def cloud(*edges: str, rpcs: MemoryRpcs | None = None) -> Site:
    site = Site(CLOUD_ORIGIN, rpcs=rpcs)
    site.entities.edges["DEVICE", DEVICE] = set(edges)
    return site


def edge(edge_id: str) -> Site:
    return Site(edge_origin(edge_id))


def change(
    id_: str,
    origin: str,
    scope: Scope = Scope.SHARED,
    upserts: Mapping[str, Value] | None = None,
    deletes: Sequence[str] = (),
    versions: Mapping[str, int] | None = None,
) -> AttributeChange:
    return AttributeChange(
        id_, "t", "DEVICE", DEVICE, scope, origin, 1_700_000_000_000,
        upserts or {}, deletes, versions or {},
    )  # fmt: skip


def received(event: CloudEvent, origin: str) -> AttributeChange:
    """The change that the receiver of an event makes of it."""
    if event.attributes is not None:
        body = event.attributes
        return change(event.id, origin, body.scope, body.values, (), body.versions)
    assert event.attribute_keys is not None
    keys = event.attribute_keys
    return change(event.id, origin, keys.scope, {}, keys.keys, keys.versions)
