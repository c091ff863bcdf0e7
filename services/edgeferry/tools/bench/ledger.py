"""What was published and acknowledged, against what stands in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import orjson

from edgeferry.core.kv import TsEntry
from edgeferry.tools.bench.mqtt_device import values_of

_KEYS = ("count", "temperature", "state")
_PAGE = 10_000


class StoredRows(Protocol):
    """What is read of a store (``core.store.TimeseriesStore``)."""

    async def latest(
        self, entity_type: str, entity_id: str, keys: Sequence[str] | None = None
    ) -> Sequence[TsEntry]: ...

    async def history(
        self,
        entity_type: str,
        entity_id: str,
        key: str,
        start_ts: int,
        end_ts: int,
        limit: int,
        order: Literal["ASC", "DESC"] = "DESC",
    ) -> Sequence[TsEntry]: ...


class DeviceLedger(NamedTuple):
    """Timestamps (ms) in order of publishing."""

    published: Sequence[int]
    acked: Sequence[int]


def read_ledger(path: Path) -> dict[str, DeviceLedger]:
    return {
        id_: DeviceLedger(row["published"], row["acked"])
        for id_, row in orjson.loads(path.read_bytes()).items()
    }


@dataclass(slots=True)
class Comparison:
    """Messages, not rows. lost: acknowledged, yet a key of it is not stored. extra: stored,
    never published. duplicates: a timestamp that a key has twice. wrong: stored with other
    values. stale_latest: devices whose latest is not the newest stored."""

    stored: int = 0
    lost: int = 0
    extra: int = 0
    duplicates: int = 0
    wrong: int = 0
    stale_latest: int = 0


async def compare(
    ledger: Mapping[str, DeviceLedger], timeseries: StoredRows, *, latest: bool
) -> Comparison:
    """Read back every row of the ledger's devices. ``latest`` false where the chain keeps
    none: then any latest row of the three keys counts as stale.

    Raises StoreUnavailable."""
    found = Comparison()
    for id_, device in ledger.items():
        if device.published:
            await _compare_device(id_, device, timeseries, latest, found)
    return found


async def _compare_device(
    id_: str, device: DeviceLedger, timeseries: StoredRows, latest: bool, found: Comparison
) -> None:
    published, acked = set(device.published), set(device.acked)
    start, end = device.published[0], device.published[-1] + 1
    whole: set[int] | None = None
    for position, key in enumerate(_KEYS):
        rows = await _history(timeseries, id_, key, start, end)
        stored = {row.ts for row in rows}
        found.duplicates += len(rows) - len(stored)
        found.extra += len(stored - published)
        found.wrong += sum(row.value != values_of(row.ts)[position] for row in rows)
        whole = stored if whole is None else whole & stored
    whole = whole or set()
    found.stored += len(whole)
    found.lost += len(acked - whole)
    newest = await timeseries.latest("DEVICE", id_, _KEYS)
    wanted = dict.fromkeys(_KEYS, max(whole, default=0)) if latest and whole else {}
    found.stale_latest += {row.key: row.ts for row in newest} != wanted


async def _history(
    timeseries: StoredRows, id_: str, key: str, start: int, end: int
) -> list[TsEntry]:
    rows: list[TsEntry] = []
    while True:
        page = await timeseries.history("DEVICE", id_, key, start, end, _PAGE, "ASC")
        rows += page
        if len(page) < _PAGE:
            return rows
        start = page[-1].ts + 1
