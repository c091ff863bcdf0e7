"""What a telemetry request asks for, checked (semantics of the field, sections 5.3, 5.4, 7.4)."""

import re
from collections.abc import Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Annotated, Literal, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Depends, Path, Query

from edgeferry.api.errors import BadTelemetryRequest
from edgeferry.core.aggregation import Aggregation, Calendar, Step, calendar_steps, fixed_steps
from edgeferry.core.errors import BadInterval
from edgeferry.core.ids import is_entity_id
from edgeferry.core.message import EntityType

MAX_KEYS = 256
MAX_POINTS = 200_000
"""Of one answer: it is made in memory."""
MAX_STEPS = 50_000
"""Of all keys together: each is a query of its own."""

_LONG_MAX = 2**63 - 1
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2}))?")
_ZONE_LENGTH = 64

Order = Literal["ASC", "DESC"]
AggregationName = Literal["NONE", "MIN", "MAX", "AVG", "SUM", "COUNT"]
IntervalType = Literal["MILLISECONDS", "WEEK", "WEEK_ISO", "MONTH", "QUARTER"]


class Entity(NamedTuple):
    type: str
    id: str


def _entity(
    entity_type: Annotated[EntityType, Path(alias="entityType")],
    entity_id: Annotated[UUID, Path(alias="entityId")],
) -> Entity:
    if not is_entity_id(str(entity_id)):
        raise BadTelemetryRequest(f"{entity_id} is no id of an entity: those are version-1 UUIDs")
    return Entity(entity_type.value, str(entity_id))


EntityPath = Annotated[Entity, Depends(_entity)]


KeyQuery = Annotated[
    Sequence[str], Query(alias="key", description="one key; any number of times, beside keys")
]


def _keys(
    keys: Annotated[str | None, Query(description="comma-separated; all when left out")] = None,
    more: KeyQuery = (),
) -> list[str] | None:
    """Each once, in the order asked for; None: all."""
    return _split(keys, more) or None


def _wanted_keys(
    keys: Annotated[str | None, Query(description="comma-separated")] = None,
    more: KeyQuery = (),
) -> list[str]:
    found = _split(keys, more)
    if not found:
        raise BadTelemetryRequest("keys: name at least one key")
    return found


def _split(keys: str | None, more: Sequence[str]) -> list[str]:
    named = [*(keys or "").split(","), *more]
    found = list(dict.fromkeys(key for key in named if key))
    if len(found) > MAX_KEYS:
        raise BadTelemetryRequest(f"keys: {len(found)} of them, at most {MAX_KEYS} at a time")
    return found


KeysQuery = Annotated[list[str] | None, Depends(_keys)]
WantedKeysQuery = Annotated[list[str], Depends(_wanted_keys)]


class Aggregated(NamedTuple):
    aggregation: Aggregation
    steps: Sequence[Step]


class Range(NamedTuple):
    """start <= ts < end, in ms. aggregated: then limit and order do not matter."""

    start: int
    end: int
    limit: int
    order: Order
    aggregated: Aggregated | None

    def check_size(self, keys: Sequence[str]) -> None:
        """Raises BadTelemetryRequest when the answer could be too much."""
        if self.aggregated is not None:
            steps = len(self.aggregated.steps)
            if len(keys) * steps > MAX_STEPS:
                raise BadTelemetryRequest(
                    f"{len(keys)} keys with {steps} intervals are more than {MAX_STEPS}: "
                    "ask for fewer keys or with a larger interval"
                )
        elif len(keys) * self.limit > MAX_POINTS:
            raise BadTelemetryRequest(
                f"{len(keys)} keys with limit={self.limit} could be more than {MAX_POINTS} "
                f"values: ask for fewer keys or with a smaller limit"
            )


class _Interval(NamedTuple):
    """How long the steps are; ``ms`` 0: no aggregation was meant."""

    ms: int
    type: IntervalType
    zone: str


def _interval(
    interval: Annotated[
        int,
        Query(
            ge=0,
            le=_LONG_MAX,
            description="ms of a step, at least 1000 are taken; 0: no aggregation",
        ),
    ] = 0,
    interval_type: Annotated[
        IntervalType, Query(alias="intervalType", description="calendar steps ignore interval")
    ] = "MILLISECONDS",
    time_zone: Annotated[
        str,
        Query(
            alias="timeZone",
            max_length=_ZONE_LENGTH,
            description="of calendar steps: a name like Europe/Berlin or an offset like +02:00; "
            "UTC when left out",
        ),
    ] = "",
) -> _Interval:
    return _Interval(interval, interval_type, time_zone)


def _range(
    interval: Annotated[_Interval, Depends(_interval)],
    start: Annotated[int | None, Query(alias="startTs", ge=0, le=_LONG_MAX)] = None,
    end: Annotated[int | None, Query(alias="endTs", ge=0, le=_LONG_MAX)] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_POINTS, description="per key; only without aggregation")
    ] = 100,
    order: Annotated[
        Order, Query(alias="orderBy", description="only without aggregation, else ASC")
    ] = "DESC",
    agg: Annotated[
        AggregationName, Query(description="of the values of each interval; needs one")
    ] = "NONE",
) -> Range | None:
    """None: latest values are wanted."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise BadTelemetryRequest("startTs and endTs go together: give both, or none for latest")
    if start > end:
        raise BadTelemetryRequest(f"startTs {start} is after endTs {end}")
    return Range(start, end, limit, order, _aggregated(agg, start, end, interval))


def _wanted_range(found: Annotated[Range | None, Depends(_range)]) -> Range:
    if found is None:
        raise BadTelemetryRequest("startTs and endTs are wanted")
    return found


RangeQuery = Annotated[Range | None, Depends(_range)]
WantedRangeQuery = Annotated[Range, Depends(_wanted_range)]


def _aggregated(
    agg: AggregationName, start: int, end: int, interval: _Interval
) -> Aggregated | None:
    if agg == "NONE" or (interval.type == "MILLISECONDS" and not interval.ms):
        return None
    try:
        if interval.type == "MILLISECONDS":
            steps = fixed_steps(start, end, interval.ms)
        else:
            zone = zone_of(interval.zone)
            steps = calendar_steps(start, end, Calendar(interval.type), zone)
    except BadInterval as error:
        raise BadTelemetryRequest(str(error)) from None
    return Aggregated(Aggregation(agg), steps)


def zone_of(name: str) -> tzinfo:
    """The time zone of this name or offset, UTC for none. Raises BadTelemetryRequest."""
    if name in ("", "Z"):
        return UTC
    if found := _OFFSET.fullmatch(name):
        sign, hours, minutes = found.groups(default="0")
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        if offset <= timedelta(hours=18):
            return timezone(-offset if sign == "-" else offset)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadTelemetryRequest(
            f"timeZone: {name!r} is not known: give a name like Europe/Berlin, "
            "or an offset like +02:00"
        ) from None


class DeleteRange(NamedTuple):
    """None: all data of the keys."""

    bounds: tuple[int, int] | None
    latest: bool
    rewrite: bool


def _delete_range(
    everything: Annotated[
        bool, Query(alias="deleteAllDataForKeys", description="whatever its time up to now")
    ] = False,
    start: Annotated[int | None, Query(alias="startTs", ge=0, le=_LONG_MAX)] = None,
    end: Annotated[
        int | None, Query(alias="endTs", ge=0, le=_LONG_MAX, description="not taken in")
    ] = None,
    latest: Annotated[
        bool, Query(alias="deleteLatest", description="also the latest value in the range")
    ] = True,
    rewrite: Annotated[
        bool,
        Query(
            alias="rewriteLatestIfDeleted",
            description="the newest value before the range takes its place",
        ),
    ] = False,
) -> DeleteRange:
    if everything:
        return DeleteRange(None, latest, rewrite)
    if start is None or end is None:
        raise BadTelemetryRequest(
            "When deleteAllDataForKeys is false, start and end timestamp values shouldn't be empty"
        )
    if start > end:
        raise BadTelemetryRequest(f"startTs {start} is after endTs {end}")
    return DeleteRange((start, end), latest, rewrite)


DeleteQuery = Annotated[DeleteRange, Depends(_delete_range)]
