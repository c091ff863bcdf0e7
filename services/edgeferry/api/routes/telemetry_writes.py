"""Attributes and time series: saving, and deleting of attributes (semantics of the field,
section 7.4). Answered when it has been applied: a read that follows sees it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from edgeferry.api.bodies import payload
from edgeferry.api.context import ApiContext
from edgeferry.api.errors import ApiError, BadTelemetryRequest, ErrorCode
from edgeferry.api.routes.documented import TELEMETRY_ERRORS, TOKEN_WANTED
from edgeferry.api.routes.telemetry_parameters import Entity, EntityPath, WantedKeysQuery
from edgeferry.core.changes import AttributeChange
from edgeferry.core.errors import InvalidPayload, Unstorable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsPoint
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TYPE, Outgoing
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

    @router.post("/{entityType}/{entityId}/attributes/{scope}", response_class=Response)
    @router.post("/{entityType}/{entityId}/{scope}", response_class=Response)
    async def save_attributes(request: Request, entity: EntityPath, scope: Scope) -> Response:
        """A flat JSON object; SERVER_SCOPE or SHARED_SCOPE."""
        return await writes.save_attributes(request, entity, scope)

    @router.post("/{deviceId}/{scope}", response_class=Response)
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

    @router.post("/{entityType}/{entityId}/timeseries/{scope}", response_class=Response)
    async def save_timeseries(request: Request, entity: EntityPath, scope: str) -> Response:
        """As devices send it. The scope means nothing."""
        return await writes.save_timeseries(request, entity, 0)

    @router.post("/{entityType}/{entityId}/timeseries/{scope}/{ttl}", response_class=Response)
    async def save_timeseries_for_a_while(
        request: Request, entity: EntityPath, scope: str, ttl: TtlPath
    ) -> Response:
        """The same, kept for so many seconds."""
        return await writes.save_timeseries(request, entity, ttl)


class _Writes:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._writing = context.writing

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
        await writing.writer.append([self._told(entity, points, stamp, now_ms)])
        return Response()

    def _told(self, entity: Entity, points: Sequence[TsPoint], stamp: int, now_ms: int) -> Outgoing:
        data = {"timeseries": [{"ts": point.ts, "values": point.values} for point in points]}
        type_ = MessageType.TIMESERIES_UPDATED
        message = RuleMessage(
            new_entity_id(),
            self._writing.tenant_id,
            now_ms,
            stamp,
            [],
            type_,
            *entity,
            {},
            DataType.JSON,
            orjson.dumps(data).decode(),
        )
        headers = ((HEADER_ORIGIN, self._writing.origin.encode()), (HEADER_TYPE, type_.encode()))
        topic = root_topic(self._writing.site)
        return Outgoing(topic, entity.id.encode(), encode_message(message), headers)

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
        if entity.type not in _KNOWN_KINDS:
            return
        key = (entity.type, entity.id)
        known = (await self._context.store.entities.entities([key])).get(key)
        if known is None or known.deleted:
            text = f"{entity.type.capitalize()} with id [{entity.id}] is not found"
            raise ApiError(404, ErrorCode.NOT_FOUND, text)
