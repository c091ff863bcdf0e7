"""Attributes and time series: saving and deleting (semantics of the field, sections 5.4, 7.4).
Answered when it has been applied: a read that follows sees it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from edgeferry.api.bodies import payload
from edgeferry.api.context import ApiContext
from edgeferry.api.entities import Entities
from edgeferry.api.errors import BadTelemetryRequest
from edgeferry.api.routes.documented import (
    ATTRIBUTES,
    TELEMETRY,
    TELEMETRY_ERRORS,
    TOKEN_WANTED,
    takes,
)
from edgeferry.api.routes.telemetry_parameters import (
    DeleteQuery,
    DeleteRange,
    Entity,
    EntityPath,
    WantedKeysQuery,
)
from edgeferry.core.changes import AttributeChange
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload, Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TYPE, Outgoing
from edgeferry.core.store import TimeseriesDelete
from edgeferry.core.values import attribute_values, telemetry_points
from edgeferry.log.codec import encode_message
from edgeferry.log.topics import root_topic

PREFIX = "/api/plugins/telemetry"
_MOST_POINTS = 10_000
_KNOWN_KINDS = (EntityType.DEVICE, EntityType.ASSET)

DevicePath = Annotated[UUID, Path(alias="deviceId")]
TtlPath = Annotated[int, Path(ge=0, le=2**31 - 1, description="seconds; 0: for ever")]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(
        prefix=PREFIX, tags=["telemetry"], dependencies=TOKEN_WANTED, responses=TELEMETRY_ERRORS
    )
    _add_timeseries(router, context)
    _add_attributes(router, context)
    return router


def _add_attributes(router: APIRouter, context: ApiContext) -> None:
    writes = _Writes(context)
    attributes: dict[str, Any] = {
        "response_class": Response,
        "openapi_extra": takes(ATTRIBUTES),
    }

    @router.post("/{entityType}/{entityId}/attributes/{scope}", **attributes)
    @router.post("/{entityType}/{entityId}/{scope}", **attributes)
    async def save_attributes(request: Request, entity: EntityPath, scope: Scope) -> Response:
        """A flat JSON object; SERVER_SCOPE or SHARED_SCOPE."""
        return await writes.save_attributes(request, entity, scope)

    @router.post("/{deviceId}/{scope}", **attributes)
    async def save_device_attributes(
        request: Request, device: DevicePath, scope: Scope
    ) -> Response:
        """The same of a device."""
        entity = Entity(EntityType.DEVICE.value, str(device))
        return await writes.save_attributes(request, entity, scope)

    @router.delete("/{entityType}/{entityId}/{scope}", response_class=Response)
    async def delete_attributes(
        entity: EntityPath, scope: Scope, keys: WantedKeysQuery
    ) -> Response:
        return await writes.delete_attributes(entity, scope, keys)

    @router.delete("/{deviceId}/{scope}", response_class=Response)
    async def delete_device_attributes(
        device: DevicePath, scope: Scope, keys: WantedKeysQuery
    ) -> Response:
        """The same of a device."""
        entity = Entity(EntityType.DEVICE.value, str(device))
        return await writes.delete_attributes(entity, scope, keys)


def _add_timeseries(router: APIRouter, context: ApiContext) -> None:
    writes = _Writes(context)
    telemetry: dict[str, Any] = {"response_class": Response, "openapi_extra": takes(TELEMETRY)}

    @router.delete("/{entityType}/{entityId}/timeseries/delete", response_class=Response)
    async def delete_timeseries(
        entity: EntityPath, keys: WantedKeysQuery, wanted: DeleteQuery
    ) -> Response:
        """Everything stored in the range goes, and what is written late into it stays away."""
        await writes.delete_timeseries(entity, keys, wanted)
        return Response()

    @router.post("/{entityType}/{entityId}/timeseries/{scope}", **telemetry)
    async def save_timeseries(request: Request, entity: EntityPath, scope: str) -> Response:
        """As devices send it. The scope means nothing."""
        return await writes.save_timeseries(request, entity, 0)

    @router.post("/{entityType}/{entityId}/timeseries/{scope}/{ttl}", **telemetry)
    async def save_timeseries_for_a_while(
        request: Request, entity: EntityPath, scope: str, ttl: TtlPath
    ) -> Response:
        """The same, kept for so many seconds."""
        return await writes.save_timeseries(request, entity, ttl)


class _Writes:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._writing = context.writing
        self._entities = Entities(context)

    async def save_attributes(self, request: Request, entity: Entity, scope: Scope) -> Response:
        if scope is Scope.CLIENT:
            raise BadTelemetryRequest(f"Invalid scope: {scope}")
        document = await payload(request, self._writing.limits)
        try:
            values = attribute_values(document, self._writing.limits)
        except InvalidPayload as error:
            raise BadTelemetryRequest(str(error)) from None
        if not values:
            raise BadTelemetryRequest("No attributes data found in request body!")
        await self._check_known(entity)
        change = replace(self._change(entity, scope), upserts=values)
        await self._writing.changes.submit([change])
        return Response()

    async def delete_attributes(
        self, entity: Entity, scope: Scope, keys: Sequence[str]
    ) -> Response:
        await self._check_known(entity)
        change = replace(self._change(entity, scope), deletes=tuple(keys))
        await self._writing.changes.submit([change])
        return Response()

    async def save_timeseries(self, request: Request, entity: Entity, ttl: int) -> Response:
        """Stored, then told to the root chain as TIMESERIES_UPDATED."""
        writing, now_ms = self._writing, self._context.clock.now_ms()
        document = await payload(request, writing.limits)
        try:
            points = telemetry_points(document, now_ms, writing.limits)
        except InvalidPayload as error:
            raise BadTelemetryRequest(str(error)) from None
        if not points:
            raise BadTelemetryRequest("No timeseries data found in request body!")
        if len(points) > _MOST_POINTS:
            raise BadTelemetryRequest(f"more than {_MOST_POINTS} timestamps: send fewer at a time")
        await self._check_known(entity)
        stamp = writing.stamps.take(len(points))
        writes = [
            TimeseriesWrite(*entity, point.ts, stamp + at, point.values, ttl)
            for at, point in enumerate(points)
        ]
        try:
            await self._context.store.timeseries.save(writes)
        except Unstorable as error:
            raise BadTelemetryRequest(f"nothing can be stored under this name: {error}") from None
        data = {"timeseries": [{"ts": point.ts, "values": point.values} for point in points]}
        await self._tell(entity, MessageType.TIMESERIES_UPDATED, data, stamp)
        return Response()

    async def delete_timeseries(
        self, entity: Entity, keys: Sequence[str], wanted: DeleteRange
    ) -> None:
        """Deleted, then told to the root chain as TIMESERIES_DELETED."""
        await self._entities.check_here(*entity)
        now_ms = self._context.clock.now_ms()
        start, end = wanted.bounds or (0, now_ms)
        delete = TimeseriesDelete(
            entity_type=entity.type,
            entity_id=entity.id,
            keys=keys,
            start_ts=start,
            end_ts=end,
            stamp=(now_ms + 1) * MICROS_PER_MS - 1,  # not below any other of this millisecond
            delete_latest=wanted.latest,
            rewrite_latest=wanted.rewrite,
            all_stored=True,
        )
        try:
            await self._context.store.timeseries.delete(delete)
        except Unstorable as error:
            raise BadTelemetryRequest(f"nothing can be stored under this name: {error}") from None
        data = {
            "timeseries": list(keys),
            "startTs": start,
            "endTs": end,
            "deleteLatest": wanted.latest,
            "rewriteLatestIfDeleted": wanted.rewrite,
        }
        stamp = self._writing.stamps.take(1)
        await self._tell(entity, MessageType.TIMESERIES_DELETED, data, stamp)

    async def _tell(
        self, entity: Entity, type_: MessageType, data: dict[str, Any], stamp: int
    ) -> None:
        """The root chain. Raises LogUnavailable, RecordTooLarge."""
        writing, now_ms = self._writing, self._context.clock.now_ms()
        message = RuleMessage(
            new_entity_id(),
            writing.tenant_id,
            now_ms,
            stamp,
            [],
            type_,
            *entity,
            {},
            DataType.JSON,
            orjson.dumps(data).decode(),
        )
        headers = ((HEADER_ORIGIN, writing.origin.encode()), (HEADER_TYPE, type_.encode()))
        topic, key = root_topic(writing.site), entity.id.encode()
        await writing.writer.append([Outgoing(topic, key, encode_message(message), headers)])

    def _change(self, entity: Entity, scope: Scope) -> AttributeChange:
        return AttributeChange(
            id=new_entity_id(),
            tenant_id=self._writing.tenant_id,
            entity_type=entity.type,
            entity_id=entity.id,
            scope=scope,
            origin=self._writing.origin,
            created_time=self._context.clock.now_ms(),
        )

    async def _check_known(self, entity: Entity) -> None:
        """Raises ApiError, StoreUnavailable."""
        if entity.type in _KNOWN_KINDS:
            await self._entities.known(EntityType(entity.type), entity.id)
        else:
            await self._entities.check_here(*entity)
