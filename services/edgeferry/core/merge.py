"""Who wins when two writes meet: pure rules, the same in every store.

Source: the contracts' rules for ts_kv_cf, ts_kv_latest_cf and attributes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgeferry.core.clock import MICROS_PER_MS

FUTURE_LIMIT_MS = 3_600_000
"""A value further ahead of the clock would pin latest for ever: it goes to history only."""

MAX_TS_MS = 253_402_300_799_999
"""The last millisecond of the year 9999; a greater ts is no plausible time."""

DELETIONS_KEPT = 16
"""Of one key: enough for what may still be on its way when a range is deleted."""

LATEST_SLOTS = 1000
"""Writes of one millisecond that latest can tell apart (its timestamps are microseconds)."""


def newest_allowed_for_latest(now_ms: int) -> int:
    """The greatest ts (ms) that may become a latest value."""
    return now_ms + FUTURE_LIMIT_MS


def wins_latest(ts: int, stamp: int, stored_ts: int, stored_stamp: int) -> bool:
    """Newer data wins; of one ts the greater stamp. Equal on both is a repeat."""
    return (ts, stamp) > (stored_ts, stored_stamp)


def wins_attribute(version: int, origin: str, stored_version: int, stored_origin: str) -> bool:
    """The greater version wins, deletes included; ties go to the greater site name."""
    return (version, origin) > (stored_version, stored_origin)


def latest_timestamp(ts: int, slot: int) -> int:
    """The write timestamp (microseconds) of a latest row: its ts and which write of it."""
    return ts * MICROS_PER_MS + slot


class Deletion(NamedTuple):
    """A range of a key's values that was deleted; ``latest``: the latest value as well.

    Its bounds are not the same for both: history start <= ts < end, latest start < ts <= end
    (semantics of the field, section 5.4)."""

    start: int
    end: int
    stamp: int
    latest: bool


def whole_time(stamp: int) -> Deletion:
    """Everything written up to this stamp."""
    return Deletion(-1, MAX_TS_MS + 1, stamp, latest=True)


def history_deleted(deletions: Iterable[Deletion], ts: int, stamp: int) -> bool:
    """Whether a write comes too late: it was deleted before it arrived."""
    return any(one.start <= ts < one.end and stamp <= one.stamp for one in deletions)


def latest_deleted(deletions: Iterable[Deletion], ts: int, stamp: int) -> bool:
    """The same for latest, both bounds taken in: what history does not take must not be shown
    as latest."""
    return any(
        one.latest and one.start <= ts <= one.end and stamp <= one.stamp for one in deletions
    )


def with_deletion(deletions: Sequence[Deletion], new: Deletion) -> tuple[Deletion, ...]:
    """The newest few of all; those that ``new`` covers go."""
    kept = [
        one
        for one in deletions
        if not (
            new.start <= one.start
            and one.end <= new.end
            and one.stamp <= new.stamp
            and new.latest >= one.latest
        )
    ]
    return tuple(sorted((*kept, new), key=lambda one: one.stamp)[-DELETIONS_KEPT:])
