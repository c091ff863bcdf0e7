"""Copies a SQLite store into another one, which holds nothing else; and compares the two.

Rows go through the store's own port, which decides by stamps and versions: repeating some
after a crash changes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from math import ceil
from pathlib import Path
from typing import NamedTuple

from edgeferry.core.clock import Clock
from edgeferry.core.merge import MAX_TS_MS
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import Store, TimeseriesDelete, VersionedAttribute
from edgeferry.store.sqlite_rows import (
    AttributeRow,
    DeleteRow,
    HistoryRow,
    LatestRow,
    SqliteRows,
)
from edgeferry.tools.move_compare import compare_side_by_side, must_equal
from edgeferry.tools.move_kept import compare_kept, copy_kept, count_kept
from edgeferry.tools.move_progress import Progress

PROGRESS_FILE = "move-store.json"
_EXPIRING_MS = 60_000
"""A row with less time left may be in one store and already gone from the other."""


Say = Callable[[str, int], None]
Counts = Mapping[str, int]
"""Table -> rows."""


async def copy_store(
    *, rows: SqliteRows, target: Store, progress: Path, clock: Clock, say: Say
) -> None:
    """``progress``: the file that keeps how far it is. ``say``: table and rows copied.

    Raises StoreUnavailable (call again), Unstorable."""
    kept = Progress(progress)
    timeseries, attributes = target.timeseries, target.attributes
    async for deletes in rows.deletes(kept.after("deletes")):  # they keep out what is late
        for row in deletes:
            await timeseries.delete(_delete(row))
        say("deletes", kept.reached("deletes", deletes))
    async for history in rows.history(kept.after("history"), clock.now_ms()):
        await timeseries.save([_history_write(row, clock.now_ms()) for row in history])
        say("history", kept.reached("history", history))
    async for latest in rows.latest(kept.after("latest")):
        await timeseries.save([_latest_write(row) for row in latest])
        say("latest", kept.reached("latest", latest))
    async for saved in rows.attributes(kept.after("attributes")):
        await attributes.apply([row.attribute for row in saved])
        say("attributes", kept.reached("attributes", saved))
    await copy_kept(rows=rows.kept, target=target, progress=kept, say=say)


def _delete(row: DeleteRow) -> TimeseriesDelete:
    return TimeseriesDelete(
        row.entity_type,
        row.entity_id,
        row.keys,
        row.start_ts,
        row.end_ts,
        row.stamp,
        delete_latest=row.latest,
    )


def _history_write(row: HistoryRow, now_ms: int) -> TimeseriesWrite:
    ttl = max(1, ceil((row.expires - now_ms) / 1000)) if row.expires is not None else 0
    return TimeseriesWrite(
        row.entity_type, row.entity_id, row.ts, row.stamp, {row.key: row.value}, ttl, latest=False
    )


def _latest_write(row: LatestRow) -> TimeseriesWrite:
    return TimeseriesWrite(
        row.entity_type, row.entity_id, row.ts, row.stamp, {row.key: row.value}, history=False
    )


async def compare_store(*, rows: SqliteRows, target: Store, clock: Clock) -> Counts:
    """Rows of each table, when the target has the same.

    Raises StoreUnavailable, Stop naming the first that differs."""
    counts = {"history": 0, "latest": 0, "attributes": 0}
    before: _Chunk | None = None
    async for history in rows.history((), clock.now_ms()):
        chunks = list(_chunks(history, before))
        before = chunks[-1]
        await compare_side_by_side(_check_history(chunk, target, clock) for chunk in chunks)
        counts["history"] += len(history)
    async for latest in rows.latest(()):
        await compare_side_by_side(_check_latest(row, target) for row in latest)
        counts["latest"] += len(latest)
    async for saved in rows.attributes(()):
        await compare_side_by_side(_check_attribute(row, target) for row in saved)
        counts["attributes"] += len(saved)
    return {**counts, **await compare_kept(rows=rows.kept, target=target)}


async def count_store(rows: SqliteRows, clock: Clock) -> Counts:
    """What there is to copy. Raises StoreUnavailable."""
    return {
        "history": sum([len(page) async for page in rows.history((), clock.now_ms())]),
        "latest": sum([len(page) async for page in rows.latest(())]),
        "attributes": sum([len(page) async for page in rows.attributes(())]),
        **await count_kept(rows.kept),
    }


class _Chunk(NamedTuple):
    """Neighbours of one key; nothing else stands in start <= ts < end."""

    rows: Sequence[HistoryRow]
    start: int
    end: int


def _chunks(page: Sequence[HistoryRow], before: _Chunk | None) -> Iterator[_Chunk]:
    """``before``: the last one of the page before, whose key may go on here."""
    known = before.rows[-1] if before is not None else None
    for place, group in groupby(page, key=lambda row: row.at[:2]):
        rows = list(group)
        goes_on = known is not None and known.at[:2] == place
        ended = rows[-1] is not page[-1]
        yield _Chunk(
            rows,
            known.ts + 1 if goes_on and known is not None else 0,
            MAX_TS_MS + 1 if ended else rows[-1].ts + 1,
        )


async def _check_history(chunk: _Chunk, target: Store, clock: Clock) -> None:
    first = chunk.rows[0]
    found = await target.timeseries.history(
        first.entity_type, first.entity_id, first.key, chunk.start, chunk.end,
        len(chunk.rows) + 1, "ASC",
    )  # fmt: skip
    there = {entry.ts: entry.value for entry in found}
    soon = clock.now_ms() + _EXPIRING_MS
    for row in chunk.rows:
        value = there.pop(row.ts, None)
        if value is None and row.expires is not None and row.expires <= soon:
            continue
        must_equal("history", _named(row, f"at {row.ts}"), row.value, value)
    for ts, value in there.items():
        must_equal("history", _named(first, f"at {ts}"), None, value)


async def _check_latest(row: LatestRow, target: Store) -> None:
    found = await target.timeseries.latest(row.entity_type, row.entity_id, [row.key])
    there = [(entry.ts, entry.value) for entry in found]
    must_equal("latest", _named(row, ""), [(row.ts, row.value)], there)


async def _check_attribute(row: AttributeRow, target: Store) -> None:
    wanted = row.attribute
    entity_type, entity_id, scope, key, *_ = wanted
    found = await target.attributes.standing(entity_type, entity_id, scope, [key])
    there = [one._replace(event_id="") for one in found]
    must_equal("attributes", _named(wanted, f"of {scope}"), [wanted], there)


def _named(row: HistoryRow | LatestRow | VersionedAttribute, where: str) -> str:
    return f"key {row.key!r} {where} of {row.entity_type} {row.entity_id}"
