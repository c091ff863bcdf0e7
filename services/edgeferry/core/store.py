"""The store port: what a site keeps. Cassandra in the Cloud, SQLite at the Edge."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from edgeferry.core.kv import AttributeEntry, Scope, TsEntry
from edgeferry.core.node import AttributesPort, TimeseriesPort


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

    async def keys(self, entity_type: str, entity_id: str) -> Sequence[str]:
        """Keys that have a latest value, sorted."""
        ...

    def ownership_changed(self) -> None:
        """Partitions of the input moved: forget what was cached about stored values."""
        ...


class AttributesStore(AttributesPort, Protocol):
    """All reads raise StoreUnavailable (Later)."""

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        """Attributes of one scope (all keys when None), sorted by key."""
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

    async def save(self, stream: str, position: Position) -> None:
        """Return when durable. Raises StoreUnavailable (Later)."""
        ...


class Store(Protocol):
    """All of it, with its life cycle."""

    @property
    def timeseries(self) -> TimeseriesStore: ...

    @property
    def attributes(self) -> AttributesStore: ...

    @property
    def positions(self) -> PositionStore: ...

    async def start(self) -> None:
        """Connect and prepare; make the tables that are missing where the store owns them."""
        ...

    async def stop(self) -> None: ...

    async def ping(self) -> None:
        """Return when the store answers. Raises StoreUnavailable (Later)."""
        ...
