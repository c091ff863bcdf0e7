"""The reading half of the port core.store.TimeseriesStore, the same on every store."""

from collections.abc import Sequence
from typing import Literal, Protocol

from edgeferry.core.aggregation import Aggregation, Step
from edgeferry.core.kv import TsEntry

Place = tuple[str, str, str]
"""Entity type, entity id and key."""

Order = Literal["ASC", "DESC"]


class Reads(Protocol):
    """One store's own; they raise and answer as the port says."""

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None
    ) -> Sequence[TsEntry]: ...

    async def history(
        self, place: Place, start_ts: int, end_ts: int, limit: int, order: Order
    ) -> Sequence[TsEntry]: ...

    async def aggregate(
        self, place: Place, steps: Sequence[Step], aggregation: Aggregation
    ) -> Sequence[TsEntry]: ...

    async def keys(self, entity_type: str, entity_id: str) -> Sequence[str]: ...


class TimeseriesReads:
    """Passes each question on to ``_reads``."""

    _reads: Reads

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]:
        return await self._reads.latest(entity_type, entity_id, keys)

    async def history(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        start_ts: int,
        end_ts: int,
        limit: int,
        order: Order = "DESC",
    ) -> Sequence[TsEntry]:
        place = (entity_type, entity_id, key)
        return await self._reads.history(place, start_ts, end_ts, limit, order)

    async def aggregate(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        steps: Sequence[Step],
        aggregation: Aggregation,
    ) -> Sequence[TsEntry]:
        return await self._reads.aggregate((entity_type, entity_id, key), steps, aggregation)

    async def keys(self, entity_type: str, entity_id: str) -> Sequence[str]:
        return await self._reads.keys(entity_type, entity_id)
