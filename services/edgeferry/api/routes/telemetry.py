"""Time series and attributes, read side (semantics of the field, sections 5.3 and 7.4)."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from edgeferry.api.answers import json_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.errors import BadTelemetryRequest
from edgeferry.api.routes.documented import TOKEN_WANTED
from edgeferry.core.kv import AttributeEntry, Scope, TsEntry, Value
from edgeferry.core.message import EntityType

PREFIX = "/api/plugins/telemetry"
MAX_KEYS = 256
MAX_POINTS = 200_000
"""Of one answer: it is made in memory."""

_QUERIES_AT_ONCE = 8
_LONG_MAX = 2**63 - 1

Order = Literal["ASC", "DESC"]
Aggregation = Literal["NONE", "MIN", "MAX", "AVG", "SUM", "COUNT"]


class Entity(NamedTuple):
    type: str
    id: str


def _entity(
    entity_type: Annotated[EntityType, Path(alias="entityType")],
    entity_id: Annotated[UUID, Path(alias="entityId")],
) -> Entity:
    return Entity(entity_type.value, str(entity_id))


def _keys(
    keys: Annotated[str | None, Query(description="comma-separated; all when left out")] = None,
) -> list[str] | None:
    """Each once, in the order asked for; None: all."""
    if not keys:
        return None
    found = list(dict.fromkeys(key for key in keys.split(",") if key))
    if len(found) > MAX_KEYS:
        raise BadTelemetryRequest(f"keys: {len(found)} of them, at most {MAX_KEYS} at a time")
    return found or None


class Range(NamedTuple):
    """startTs <= ts < endTs, in ms."""

    start: int
    end: int
    limit: int
    order: Order


def _range(
    start: Annotated[int | None, Query(alias="startTs", ge=0, le=_LONG_MAX)] = None,
    end: Annotated[int | None, Query(alias="endTs", ge=0, le=_LONG_MAX)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_POINTS, description="per key")] = 100,
    order: Annotated[Order, Query(alias="orderBy")] = "DESC",
    agg: Annotated[Aggregation, Query(description="NONE is offered")] = "NONE",
) -> Range | None:
    """None: latest values are wanted."""
    if agg != "NONE":
        raise BadTelemetryRequest(f"agg={agg} is not offered: ask with agg=NONE")
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise BadTelemetryRequest("startTs and endTs go together: give both, or none for latest")
    if start > end:
        raise BadTelemetryRequest(f"startTs {start} is after endTs {end}")
    return Range(start, end, limit, order)


EntityPath = Annotated[Entity, Depends(_entity)]
KeysQuery = Annotated[list[str] | None, Depends(_keys)]
RangeQuery = Annotated[Range | None, Depends(_range)]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(
        prefix=f"{PREFIX}/{{entityType}}/{{entityId}}",
        tags=["telemetry"],
        dependencies=TOKEN_WANTED,
    )
    reads = _Reads(context)

    @router.get("/keys/timeseries")
    async def timeseries_keys(entity: EntityPath) -> Response:
        return json_answer(list(await context.store.timeseries.keys(*entity)))

    @router.get("/keys/attributes")
    async def attribute_keys(entity: EntityPath) -> Response:
        return json_answer(_names(await reads.attributes(entity, Scope, None)))

    @router.get("/keys/attributes/{scope}")
    async def attribute_keys_of_scope(entity: EntityPath, scope: Scope) -> Response:
        return json_answer(_names(await reads.attributes(entity, (scope,), None)))

    @router.get("/values/timeseries")
    async def timeseries(
        entity: EntityPath,
        keys: KeysQuery,
        wanted: RangeQuery,
        strict: Annotated[bool, Query(alias="useStrictDataTypes")] = False,
    ) -> Response:
        if wanted is None:
            return json_answer(await reads.latest(entity, keys, strict))
        if keys is None:
            raise BadTelemetryRequest("keys: name at least one key for a range")
        return json_answer(await reads.history(entity, keys, wanted, strict))

    @router.get("/values/attributes")
    async def attributes(entity: EntityPath, keys: KeysQuery) -> Response:
        return json_answer(_attribute_values(await reads.attributes(entity, Scope, keys)))

    @router.get("/values/attributes/{scope}")
    async def attributes_of_scope(entity: EntityPath, scope: Scope, keys: KeysQuery) -> Response:
        return json_answer(_attribute_values(await reads.attributes(entity, (scope,), keys)))

    return router


class _Reads:
    def __init__(self, context: ApiContext) -> None:
        self._store = context.store
        self._clock = context.clock

    async def latest(
        self, entity: Entity, keys: list[str] | None, strict: bool
    ) -> dict[str, list[dict[str, Any]]]:
        """A key without a value comes back as null, now."""
        entries = await self._store.timeseries.latest(*entity, keys)
        found = {entry.key: [_point(entry, strict)] for entry in entries}
        if keys is None:
            return found
        missing = [{"ts": self._clock.now_ms(), "value": None}]
        return {key: found.get(key, missing) for key in keys}

    async def history(
        self, entity: Entity, keys: list[str], wanted: Range, strict: bool
    ) -> dict[str, list[dict[str, Any]]]:
        """A key without a value in the range is left out."""
        if len(keys) * wanted.limit > MAX_POINTS:
            raise BadTelemetryRequest(
                f"{len(keys)} keys with limit={wanted.limit} could be more than {MAX_POINTS} "
                f"values: ask for fewer keys or with a smaller limit"
            )
        turns = asyncio.Semaphore(_QUERIES_AT_ONCE)

        async def one(key: str) -> Sequence[TsEntry]:
            async with turns:
                return await self._store.timeseries.history(
                    *entity, key, wanted.start, wanted.end, wanted.limit, wanted.order
                )

        found = await asyncio.gather(*(one(key) for key in keys))
        return {
            key: [_point(entry, strict) for entry in entries]
            for key, entries in zip(keys, found, strict=True)
            if entries
        }

    async def attributes(
        self, entity: Entity, scopes: Iterable[Scope], keys: list[str] | None
    ) -> list[AttributeEntry]:
        return [
            entry
            for scope in scopes
            for entry in await self._store.attributes.attributes(*entity, scope, keys)
        ]


def _point(entry: TsEntry, strict: bool) -> dict[str, Any]:
    return {"ts": entry.ts, "value": entry.value if strict else _text(entry.value)}


def _text(value: Value) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _names(entries: Iterable[AttributeEntry]) -> list[str]:
    return sorted({entry.key for entry in entries})


def _attribute_values(entries: Iterable[AttributeEntry]) -> list[dict[str, Any]]:
    return [
        {"lastUpdateTs": entry.last_update_ts, "key": entry.key, "value": entry.value}
        for entry in entries
    ]
