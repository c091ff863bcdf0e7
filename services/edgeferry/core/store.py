"""The store port: what a site keeps. Cassandra in the Cloud, SQLite at the Edge."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Literal, NamedTuple, Protocol

from edgeferry.core.aggregation import Aggregation, Step
from edgeferry.core.entity_store import Credentials as Credentials
from edgeferry.core.entity_store import Entity as Entity
from edgeferry.core.entity_store import EntityKey as EntityKey
from edgeferry.core.entity_store import EntityOrder as EntityOrder
from edgeferry.core.entity_store import EntityStore as EntityStore
from edgeferry.core.entity_store import Rpc as Rpc
from edgeferry.core.entity_store import RpcNews as RpcNews
from edgeferry.core.entity_store import RpcStore as RpcStore
from edgeferry.core.entity_store import Told as Told
from edgeferry.core.kv import AttributeEntry, Scope, TsEntry, Value
from edgeferry.core.node import AttributesWrite, TimeseriesPort

DECISIONS_KEPT: Final = 20
"""About each attribute."""


class TimeseriesDelete(NamedTuple):
    """Delete some keys' values of a range (semantics of the field, section 5.4).

    History goes where start_ts <= ts < end_ts (ms). With ``delete_latest`` the latest value
    goes too if start_ts < its ts <= end_ts; with ``rewrite_latest`` as well, the newest value
    of history before start_ts - 1 takes its place. Merged by stamp: what was written with a
    greater stamp stays, and what has none greater does not come back with a late write. With
    ``all_stored`` what stands now goes whatever its stamp: clocks of sites differ, and
    whoever deletes what they see means all of it."""

    entity_type: str
    entity_id: str
    keys: Sequence[str]
    start_ts: int
    end_ts: int
    stamp: int
    delete_latest: bool = True
    rewrite_latest: bool = False
    all_stored: bool = False


class DeletedKey(NamedTuple):
    """What a delete did to latest: whether the value went, and the one in its place."""

    key: str
    latest_gone: bool
    latest: TsEntry | None


class TimeseriesStore(TimeseriesPort, Protocol):
    """All reads raise StoreUnavailable (Later)."""

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]:
        """The newest entry of each key that has one (all keys when None)."""
        ...

    async def history(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        start_ts: int,
        end_ts: int,
        limit: int,
        order: Literal["ASC", "DESC"] = "DESC",
    ) -> Sequence[TsEntry]:
        """Entries with start_ts <= ts < end_ts (ms), at most ``limit``."""
        ...

    async def aggregate(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        steps: Sequence[Step],
        aggregation: Aggregation,
    ) -> Sequence[TsEntry]:
        """One entry for each step that has a value, at its middle, in the order of the steps
        (``core.aggregation`` makes them and has the rules)."""
        ...

    async def keys(self, entity_type: str, entity_id: str) -> Sequence[str]:
        """Keys that have a latest value, sorted."""
        ...

    async def delete(self, delete: TimeseriesDelete) -> Sequence[DeletedKey]:
        """Return when durable; one answer per key, in the order given. Repeating it changes
        nothing. Raises StoreUnavailable (some may be deleted), Unstorable."""
        ...

    async def delete_entity(self, entity_type: str, entity_id: str, stamp: int) -> None:
        """Delete all values of the keys that have a latest one, as ``delete`` does. A store
        that can list keys without one (SQLite) deletes those, too.

        Raises StoreUnavailable, Unstorable."""
        ...

    def ownership_changed(self) -> None:
        """Partitions of the input moved: forget what was cached about stored values."""
        ...


class VersionedAttribute(NamedTuple):
    """An attribute as a change left it; ``value`` None: deleted. ``event_id``: of the change,
    for the record; ``source``: where it stands in the log of changes."""

    entity_type: str
    entity_id: str
    scope: Scope
    key: str
    value: Value | None
    last_update_ts: int
    version: int
    origin: str
    event_id: str = ""
    source: str = ""


class Outcome(StrEnum):
    """APPLIED: it stands now. LOST: a greater version stands. SAME: this very one stands."""

    APPLIED = "APPLIED"
    LOST = "LOST"
    SAME = "SAME"


class Decision(NamedTuple):
    """What became of a change; version and origin of what stands after it."""

    outcome: Outcome
    version: int
    origin: str


class PastDecision(NamedTuple):
    """A change that was decided; ``deleted``: it was a delete."""

    version: int
    origin: str
    outcome: Outcome
    decided_ms: int
    last_update_ts: int
    deleted: bool
    event_id: str
    source: str = ""


class AttributesStore(Protocol):
    """All reads raise StoreUnavailable (Later)."""

    async def save(self, writes: Sequence[AttributesWrite]) -> None:
        """Decide all, in order, by their version and origin; return when durable.

        Raises StoreUnavailable (some may stand), Unstorable."""
        ...

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        """Attributes of one scope (all keys when None), sorted by key."""
        ...

    async def standing(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[VersionedAttribute]:
        """The same with their versions, the deleted ones among them."""
        ...

    async def apply(self, changes: Sequence[VersionedAttribute]) -> Sequence[Decision]:
        """Decide all, in order, by ``core.merge.wins_attribute``; return when durable. What
        was decided is kept with the attribute, the last ``DECISIONS_KEPT`` of each; repeating
        a change decides nothing anew. One process applies the changes of a key at a time.

        Raises StoreUnavailable (some may stand), Unstorable (with the change's index; nothing
        stands)."""
        ...

    async def decisions(
        self, entity_type: str, entity_id: str, scope: Scope, key: str
    ) -> Sequence[PastDecision]:
        """The last decisions of ``apply`` about an attribute, the newest last."""
        ...

    async def delete_entity(self, entity_type: str, entity_id: str) -> None:
        """Forget all attributes and what was decided about them; return when durable.

        Raises StoreUnavailable, Unstorable."""
        ...


class Position(NamedTuple):
    """How far a stream has taken effect. ``offset`` is the next one wanted; ``detail``
    is the owner's own JSON text."""

    epoch: int
    offset: int
    incarnation: str
    detail: str = ""


class PositionStore(Protocol):
    async def load(self, stream: str) -> Position | None:
        """Raises StoreUnavailable (Later)."""
        ...

    async def all(self) -> Mapping[str, Position]:
        """Every position by its stream. Raises StoreUnavailable (Later)."""
        ...

    async def save(self, stream: str, position: Position) -> None:
        """Return when durable. Raises StoreUnavailable (Later)."""
        ...


class EdgeEventRow(NamedTuple):
    """An Edge Event for the Edge queue. ``value``: its encoded bytes; ``source`` and
    ``offset``: where it stands in the log, by which a repeated append is known. ``origin``:
    site id of who decided a change, as its header says."""

    edge_id: str
    lane: str
    source: str
    offset: int
    created_time: int
    action: str
    type: str
    entity_type: str
    entity_id: str
    uid: str
    traceparent: str
    origin: str
    value: bytes


class QueuedEvent(NamedTuple):
    """A row of the queue; ``queued_ms``: when it was appended."""

    lane: str
    seq: int
    queued_ms: int
    created_time: int
    action: str
    type: str
    entity_type: str
    entity_id: str
    uid: str
    traceparent: str
    origin: str
    value: bytes


class QueueEnds(NamedTuple):
    """Of one lane of an edge: the first seq held, the next one to come."""

    start: int
    end: int


class QueueHead(NamedTuple):
    """Of one lane of an edge, to the last detail. ``sources``: the next offset of each."""

    edge_id: str
    lane: str
    start: int
    end: int
    sources: Mapping[str, int]


class EdgeEventStore(Protocol):
    """The Edge queue: per (edge, lane) a dense sequence from 0. All calls raise
    StoreUnavailable (Later). One process appends to an edge's lanes at a time."""

    async def append(self, rows: Sequence[EdgeEventRow]) -> None:
        """In order; return when durable. A row whose offset is not above the last one of
        its source in its edge's lane is there already and is passed over."""
        ...

    async def ends(self, edge_id: str, lane: str) -> QueueEnds: ...

    async def read(
        self, edge_id: str, lane: str, seq: int, max_bytes: int
    ) -> Sequence[QueuedEvent]:
        """From ``seq`` on, or from the first held above it; at least one when there is one."""
        ...

    async def size(self, edge_id: str, lane: str, seq: int) -> int:
        """Bytes of the events from ``seq`` on."""
        ...

    async def find(
        self, edge_id: str, start_ms: int, end_ms: int, limit: int, skip: int = 0
    ) -> tuple[Sequence[QueuedEvent], int]:
        """Of both lanes, queued at start_ms <= t < end_ms, the newest first; and how many
        there are in all."""
        ...

    async def drop(self, edge_id: str, lane: str, below: int) -> None:
        """Delete everything below a seq; the sequence goes on above it."""
        ...

    async def expire(self, before_ms: int, most: int) -> int:
        """Delete what was queued before, and of each lane all but the newest ``most``; how
        many went."""
        ...

    async def restore(self, edge_id: str, events: Sequence[QueuedEvent]) -> None:
        """Events of another store's queue, each under its seq: ``restore_heads`` makes them
        count. Repeating it changes nothing."""
        ...

    async def restore_heads(self, heads: Sequence[QueueHead]) -> None: ...

    async def heads(self) -> Sequence[QueueHead]:
        """Of every lane of every edge, sorted."""
        ...


class Store(Protocol):
    """All of it, with its life cycle."""

    @property
    def timeseries(self) -> TimeseriesStore: ...

    @property
    def attributes(self) -> AttributesStore: ...

    @property
    def positions(self) -> PositionStore: ...

    @property
    def edge_events(self) -> EdgeEventStore: ...

    @property
    def entities(self) -> EntityStore: ...

    @property
    def rpcs(self) -> RpcStore: ...

    async def start(self) -> None:
        """Connect and prepare; make the tables that are missing where the store owns them."""
        ...

    async def stop(self) -> None: ...

    async def ping(self) -> None:
        """Return when the store answers. Raises StoreUnavailable (Later)."""
        ...
