"""The ledger's comparison tells every kind of difference."""

from collections.abc import Sequence
from typing import Literal

import pytest

from edgeferry.core.kv import TsEntry, Value
from edgeferry.tools.bench.ledger import Comparison, DeviceLedger, compare
from edgeferry.tools.bench.mqtt_device import values_of

KEYS = ("count", "temperature", "state")
DEVICE = "5f0c8e70-0000-11f0-8000-0242ac120002"


class Rows:
    """A time series store of one device in memory."""

    def __init__(self, *stored: int) -> None:
        self.rows: dict[str, dict[int, Value]] = {
            key: {ts: values_of(ts)[at] for ts in stored} for at, key in enumerate(KEYS)
        }
        self.newest = {key: max(stored) for key in KEYS} if stored else {}

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]:
        return [TsEntry(key, ts, 0) for key, ts in self.newest.items()]

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
        found = sorted(ts for ts in self.rows[key] if start_ts <= ts < end_ts)
        return [TsEntry(key, ts, self.rows[key][ts]) for ts in found[:limit]]


async def compared(rows: Rows, *, latest: bool = True) -> Comparison:
    ledger = {DEVICE: DeviceLedger(published=[10, 11, 13], acked=[10, 11])}
    return await compare(ledger, rows, latest=latest)


@pytest.mark.asyncio
async def test_all_there_is_no_difference() -> None:
    assert await compared(Rows(10, 11, 13)) == Comparison(stored=3)


@pytest.mark.asyncio
async def test_what_was_never_acknowledged_may_be_missing() -> None:
    assert await compared(Rows(10, 11)) == Comparison(stored=2)


@pytest.mark.asyncio
async def test_an_acknowledged_message_without_one_of_its_keys_is_lost() -> None:
    rows = Rows(10, 11, 13)
    del rows.rows["state"][11]
    assert await compared(rows) == Comparison(stored=2, lost=1)


@pytest.mark.asyncio
async def test_a_row_that_was_never_published_is_extra() -> None:
    rows = Rows(10, 11, 13)
    rows.rows["count"][12] = 12
    assert await compared(rows) == Comparison(stored=3, extra=1)


@pytest.mark.asyncio
async def test_another_value_is_wrong() -> None:
    rows = Rows(10, 11, 13)
    rows.rows["state"][13] = "broken"
    assert await compared(rows) == Comparison(stored=3, wrong=1)


@pytest.mark.asyncio
async def test_latest_must_be_the_newest_stored() -> None:
    rows = Rows(10, 11, 13)
    rows.newest["count"] = 11
    assert await compared(rows) == Comparison(stored=3, stale_latest=1)


@pytest.mark.asyncio
async def test_without_latest_not_one_row_of_it_may_be_there() -> None:
    rows = Rows(10, 11, 13)
    assert await compared(rows, latest=False) == Comparison(stored=3, stale_latest=1)
    rows.newest = {}
    assert await compared(rows, latest=False) == Comparison(stored=3)
