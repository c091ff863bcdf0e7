"""What the behaviour suite needs: a store to look at, and short ways to fill it."""

from collections.abc import Sequence
from typing import Protocol

from hypothesis import HealthCheck, settings

from edgeferry.core.clock import ManualClock
from edgeferry.core.kv import TsEntry, Value
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import Store

T = 1_700_000_000_000
STAMP = T * 1000
FAR = 2**62
DEVICE = "DEVICE"


class Bench(Protocol):
    """A started store, and ways to look behind it."""

    store: Store
    clock: ManualClock

    async def reopen(self) -> None:
        """A fresh store object on the same data."""
        ...

    async def age(self, seconds: int) -> None:
        """Return when values that were to live so long are gone."""
        ...

    async def history_columns(self, entity_id: str, key: str, ts: int) -> list[str]:
        """Names of the value columns that are set in the stored row; empty without a row."""
        ...

    async def latest_columns(self, entity_id: str, key: str) -> list[str]: ...


def write(
    entity_id: str,
    ts: int = T,
    stamp: int = STAMP,
    ttl: int = 0,
    history: bool = True,
    latest: bool = True,
    **values: Value,
) -> TimeseriesWrite:
    return TimeseriesWrite(DEVICE, entity_id, ts, stamp, values, ttl, history, latest)


async def all_history(store: Store, entity_id: str, key: str) -> Sequence[TsEntry]:
    return await store.timeseries.history(DEVICE, entity_id, key, 0, FAR, 100_000, "ASC")


def any_order(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
