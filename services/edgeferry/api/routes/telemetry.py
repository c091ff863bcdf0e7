"""Time series and attributes: reading (semantics of the field, sections 5.3 and 7.4)."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from edgeferry.api.answers import json_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.entities import Entities
from edgeferry.api.errors import BadTelemetryRequest
from edgeferry.api.routes.documented import TELEMETRY_ERRORS, TOKEN_WANTED
from edgeferry.api.routes.telemetry_parameters import (
    Entity,
    EntityPath,
    KeysQuery,
    Range,
    RangeQuery,
    WantedKeysQuery,
    WantedRangeQuery,
)
from edgeferry.core.kv import AttributeEntry, Scope, TsEntry, Value

PREFIX = "/api/plugins/telemetry"

_QUERIES_AT_ONCE = 8

StrictQuery = Annotated[
    bool, Query(alias="useStrictDataTypes", description="values in their own types, not as text")
]


class Point(BaseModel):
    ts: int
    value: Any


class AttributeValue(BaseModel):
    lastUpdateTs: int
    key: str
    value: Any


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(
        prefix=f"{PREFIX}/{{entityType}}/{{entityId}}",
        tags=["telemetry"],
        dependencies=TOKEN_WANTED,
        responses=TELEMETRY_ERRORS,
    )
    _add_keys(router, context)
    _add_values(router, context)
    return router


def _add_keys(router: APIRouter, context: ApiContext) -> None:
    reads = _Reads(context)

    @router.get("/keys/timeseries", response_model=list[str])
    async def timeseries_keys(entity: EntityPath) -> Response:
        """Keys that have a latest value."""
        return json_answer(await reads.timeseries_keys(entity))

    @router.get("/keys/attributes", response_model=list[str])
    async def attribute_keys(entity: EntityPath) -> Response:
        return json_answer(_names(await reads.attributes(entity, Scope, None)))

    @router.get("/keys/attributes/{scope}", response_model=list[str])
    async def attribute_keys_of_scope(entity: EntityPath, scope: Scope) -> Response:
        return json_answer(_names(await reads.attributes(entity, (scope,), None)))


def _add_values(router: APIRouter, context: ApiContext) -> None:
    reads = _Reads(context)

    @router.get("/values/timeseries", response_model=dict[str, list[Point]])
    async def timeseries(
        entity: EntityPath, keys: KeysQuery, wanted: RangeQuery, strict: StrictQuery = False
    ) -> Response:
        """Latest values, or those of a range when startTs and endTs are given."""
        if wanted is None:
            return json_answer(await reads.latest(entity, keys, strict))
        if keys is None:
            raise BadTelemetryRequest("keys: name at least one key for a range")
        return json_answer(await reads.history(entity, keys, wanted, strict))

    @router.get("/values/timeseries/history", response_model=dict[str, list[Point]])
    async def timeseries_history(
        entity: EntityPath,
        keys: WantedKeysQuery,
        wanted: WantedRangeQuery,
        strict: StrictQuery = False,
    ) -> Response:
        return json_answer(await reads.history(entity, keys, wanted, strict))

    @router.get("/values/attributes", response_model=list[AttributeValue])
    async def attributes(entity: EntityPath, keys: KeysQuery) -> Response:
        return json_answer(_attribute_values(await reads.attributes(entity, Scope, keys)))

    @router.get("/values/attributes/{scope}", response_model=list[AttributeValue])
    async def attributes_of_scope(entity: EntityPath, scope: Scope, keys: KeysQuery) -> Response:
        return json_answer(_attribute_values(await reads.attributes(entity, (scope,), keys)))


class _Reads:
    def __init__(self, context: ApiContext) -> None:
        self._store = context.store
        self._clock = context.clock
        self._entities = Entities(context)

    async def timeseries_keys(self, entity: Entity) -> list[str]:
        await self._entities.check_here(*entity)
        return list(await self._store.timeseries.keys(*entity))

    async def latest(
        self, entity: Entity, keys: list[str] | None, strict: bool
    ) -> dict[str, list[dict[str, Any]]]:
        """A key without a value comes back as null, now."""
        await self._entities.check_here(*entity)
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
        wanted.check_size(keys)
        await self._entities.check_here(*entity)
        turns = asyncio.Semaphore(_QUERIES_AT_ONCE)

        async def one(key: str) -> Sequence[TsEntry]:
            async with turns:
                return await self._read(entity, key, wanted)

        found = await asyncio.gather(*(one(key) for key in keys))
        return {
            key: [_point(entry, strict) for entry in entries]
            for key, entries in zip(keys, found, strict=True)
            if entries
        }

    async def _read(self, entity: Entity, key: str, wanted: Range) -> Sequence[TsEntry]:
        timeseries = self._store.timeseries
        if wanted.aggregated is None:
            return await timeseries.history(
                *entity, key, wanted.start, wanted.end, wanted.limit, wanted.order
            )
        aggregation, steps = wanted.aggregated
        return await timeseries.aggregate(*entity, key, steps, aggregation)

    async def attributes(
        self, entity: Entity, scopes: Iterable[Scope], keys: list[str] | None
    ) -> list[AttributeEntry]:
        await self._entities.check_here(*entity)
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
