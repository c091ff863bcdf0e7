"""Which version a change of attributes gets, and whether it is one that was decided already.

A change from here gets one version for all of its keys, above everything that stands. One
from afar keeps its own, with two exceptions, in which the Cloud gives a new one that goes
back to where it came from: a version too far ahead of the clock, and a tie with another
site's change (an Edge Event does not say whose values it has, so a third site could not
tell the two apart). The new one is above the one it
takes the place of, so it wins at both sites.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.core.changes import VERSION_MAX, AttributeChange, EntityChange, edge_of
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope, Value
from edgeferry.core.store import (
    DECISIONS_KEPT,
    Credentials,
    Entity,
    Outcome,
    PastDecision,
    VersionedAttribute,
)

AHEAD_LIMIT: Final = 300_000 * MICROS_PER_MS
"""A version from afar may be this far ahead (microseconds)."""

_CLOCKS_DIFFER_MS: Final = 60_000


class Known(NamedTuple):
    """What stands of a key and what was decided about it; version -1: nothing stands."""

    version: int = -1
    origin: str = ""
    decisions: Sequence[PastDecision] = ()

    def of(self, change_id: str) -> PastDecision | None:
        return next((one for one in self.decisions if one.event_id == change_id), None)

    def with_(self, one: VersionedAttribute, now_ms: int) -> "Known":
        """What the store will know after it has decided ``one``."""
        wins = (one.version, one.origin) > (self.version, self.origin)
        same = (one.version, one.origin) == (self.version, self.origin)
        if same or self.of(one.event_id) is not None:
            return self
        outcome = Outcome.APPLIED if wins else Outcome.LOST
        deleted = one.value is None
        made = PastDecision(
            one.version, one.origin, outcome, now_ms, one.last_update_ts, deleted, one.event_id,
            one.source,
        )  # fmt: skip
        version, origin = (one.version, one.origin) if wins else (self.version, self.origin)
        return Known(version, origin, (*self.decisions, made))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change of one key with its version. ``repeated``: this very record of it was decided
    before, and won: what follows may not have left yet. Of a second record of a change, as one
    who was killed may publish it again, what follows has left with the first."""

    row: VersionedAttribute
    repeated: bool


class _Service(NamedTuple):
    """``given``: the version for keys that have none."""

    here: str
    given: int
    now_ms: int
    source: str


def values_of(change: AttributeChange) -> Mapping[str, Value | None]:
    """By key; None: deleted. A key in both is deleted."""
    return {**change.upserts, **dict.fromkeys(change.deletes)}


def versioned(
    change: AttributeChange, known: Mapping[str, Known], here: str, now_ms: int, source: str = ""
) -> list[Wanted]:
    """One for each key, in order. ``source``: where the record of the change stands.

    Raises InvalidPayload for a change that no site may take."""
    _check(change, known, here)
    values = values_of(change)
    given = _given(known.values(), now_ms, 0)
    return [
        _wanted(change, key, value, known.get(key, Known()), _Service(here, given, now_ms, source))
        for key, value in values.items()
    ]


def _wanted(
    change: AttributeChange,
    key: str,
    value: Value | None,
    known: Known,
    service: _Service,
) -> Wanted:
    here, given, now_ms, source = service
    past = known.of(change.id)
    if past is not None:
        version, origin = past.version, past.origin
    elif key not in change.versions:
        version, origin = given, here
    elif _anew(change, change.versions[key], known, here, now_ms):
        version, origin = _given((known,), now_ms, change.versions[key]), here
    else:
        version, origin = change.versions[key], change.origin
    row = VersionedAttribute(
        change.entity_type,
        change.entity_id,
        change.scope,
        key,
        value,
        change.created_time,
        version,
        origin,
        change.id,
        source,
    )
    again = past is not None and past.source in ("", source)
    return Wanted(row, past is not None and again and past.outcome is Outcome.APPLIED)


def _anew(change: AttributeChange, version: int, known: Known, here: str, now_ms: int) -> bool:
    """Not what may not be sent down."""
    if change.scope is Scope.CLIENT:
        return False
    tie = version == known.version and change.origin not in (known.origin, here)
    return _is_ahead(version, change.origin, here, now_ms) or (tie and not edge_of(here))


def _is_ahead(version: int, origin: str, here: str, now_ms: int) -> bool:
    """Whether the Cloud gives another version in the place of one from afar. An Edge never
    does, or two sites would do so in turn for ever."""
    if edge_of(here) or origin == here:
        return False
    return version > now_ms * MICROS_PER_MS + AHEAD_LIMIT


def _given(known: Iterable[Known], now_ms: int, above: int) -> int:
    stored = max((one.version for one in known), default=-1)
    return max(now_ms * MICROS_PER_MS, stored + 1, above + 1)


def entity_version(
    change: EntityChange, stands: Entity | Credentials | None, here: str, now_ms: int
) -> tuple[int, str] | None:
    """Version and origin of an entity or its credentials after a change; None: a greater one
    stands. One that was applied before keeps what it has. In a tie, as of a device that stands
    in the files of both sites from before, the edge's stands. Raises InvalidPayload."""
    if stands is not None and stands.event_id == change.id:
        return stands.version, stands.origin
    known = Known(stands.version, stands.origin) if stands is not None else Known()
    if not change.version:
        return _given((known,), now_ms, 0), here
    if not _is_plausible(change.version, known, here):
        raise InvalidPayload(f"{change.version} is no plausible version")
    if _is_ahead(change.version, change.origin, here, now_ms):
        return _given((known,), now_ms, change.version), here
    version = change.version, change.origin
    return version if version > (known.version, known.origin) else None


def _is_plausible(version: int, known: Known, here: str) -> bool:
    """The Cloud leaves room for what it gives itself above a version, which all edges must
    take; what an edge makes of that in turn it takes, too."""
    if edge_of(here):
        return 0 < version <= VERSION_MAX
    return 0 < version <= min(VERSION_MAX, max(VERSION_MAX // 2, known.version + AHEAD_LIMIT))


def _check(change: AttributeChange, known: Mapping[str, Known], here: str) -> None:
    for key, version in change.versions.items():
        if not _is_plausible(version, known.get(key, Known()), here):
            raise InvalidPayload(f"attribute {key[:60]!r}: {version} is no plausible version")
    if change.scope is Scope.CLIENT and edge_of(here) and change.origin != here:
        raise InvalidPayload("attributes of CLIENT_SCOPE do not go down to an edge")


def may_be_decided(version: int, appended_ms: int) -> int:
    """The least version that stands if a change was decided before; 0: it has none yet.
    ``appended_ms``: when it came into the log, whose clock may differ a little."""
    given = max(appended_ms - _CLOCKS_DIFFER_MS, 0) * MICROS_PER_MS
    return min(version, given) if version else given


def evicted(
    changes: Sequence[AttributeChange], known: Mapping[tuple[str, str, Scope, str], Known]
) -> set[tuple[str, str]]:
    """(change id, key) of changes in the order of the log that were decided so long ago that
    the record of it is gone: a later one of the same key has been decided. Only of those that
    are given a version here: the others have theirs, and lose by it."""
    gone: set[tuple[str, str]] = set()
    later: set[tuple[str, str, Scope, str]] = set()
    for change in reversed(changes):
        for key in values_of(change):
            at = (change.entity_type, change.entity_id, change.scope, key)
            past = known.get(at, Known())
            if past.of(change.id) is not None:
                later.add(at)
            elif (
                at in later and key not in change.versions and len(past.decisions) >= DECISIONS_KEPT
            ):
                gone.add((change.id, key))
    return gone
