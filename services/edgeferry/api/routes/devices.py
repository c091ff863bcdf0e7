"""Devices and their credentials (semantics of the field, section 7.4)."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from edgeferry.api.answers import json_answer
from edgeferry.api.bodies import bad_request, json_object
from edgeferry.api.context import ApiContext
from edgeferry.api.entities import (
    ACCESS_TOKEN,
    MOST_CHARACTERS,
    Entities,
    access_token,
    credentials_shown,
    device_info_shown,
    device_shown,
    id_of,
    saved_body,
    text_of,
    token_credentials,
)
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import OrderQuery, Page, PageQuery, entity_id, page_of
from edgeferry.api.routes.documented import TOKEN_WANTED
from edgeferry.core.changes import EntityAction
from edgeferry.core.ids import new_entity_id, new_token
from edgeferry.core.message import EntityType
from edgeferry.core.store import Entity

DEVICE = EntityType.DEVICE
_MOST_IDS = 1_000

DevicePath = Annotated[UUID, Path(alias="deviceId")]
TypeQuery = Annotated[str, Query(alias="type", max_length=MOST_CHARACTERS)]
SizeQuery = Annotated[int | None, Query(alias="pageSize", ge=1, le=1000)]
NumberQuery = Annotated[int, Query(alias="page", ge=0, le=1_000_000)]
TextQuery = Annotated[str, Query(alias="textSearch", max_length=MOST_CHARACTERS)]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["device"], dependencies=TOKEN_WANTED)
    devices = _Devices(context)
    _add_one(router, devices)
    _add_lists(router, devices)
    _add_credentials(router, devices)
    return router


def _add_one(router: APIRouter, devices: "_Devices") -> None:
    @router.post("/api/device")
    async def save_device(
        request: Request, token: Annotated[str | None, Query(alias="accessToken")] = None
    ) -> Response:
        """A new one, or with an id one that is there."""
        return json_answer(device_shown(await devices.save(request, token)))

    @router.get("/api/device/types")
    async def device_types() -> Response:
        return json_answer(await devices.types())

    @router.get("/api/device/info/{deviceId}")
    async def device_info(device: DevicePath) -> Response:
        return json_answer(device_info_shown(await devices.entities.known(DEVICE, str(device))))

    @router.get("/api/device/{deviceId}")
    async def get_device(device: DevicePath) -> Response:
        return json_answer(device_shown(await devices.entities.known(DEVICE, str(device))))

    @router.delete("/api/device/{deviceId}", response_class=Response)
    async def delete_device(device: DevicePath) -> Response:
        """With its attributes; its stored time series stay."""
        await devices.delete(str(device))
        return Response()


def _add_lists(router: APIRouter, devices: "_Devices") -> None:
    @router.get("/api/tenant/devices")
    async def tenant_devices(
        order: OrderQuery,
        name: Annotated[str | None, Query(alias="deviceName", max_length=MOST_CHARACTERS)] = None,
        size: SizeQuery = None,
        number: NumberQuery = 0,
        text: TextQuery = "",
        type_: TypeQuery = "",
    ) -> Response:
        """A page of them, or the one of a name."""
        if name is not None:
            return json_answer(device_shown(await devices.named(name)))
        if size is None:
            raise bad_request("pageSize: give a number, or a deviceName")
        page = Page(size, number, text, order)
        found, total = await devices.page(page, type_)
        return json_answer(page_of([device_shown(one) for one in found], total, page))

    @router.get("/api/tenant/deviceInfos")
    async def tenant_device_infos(page: PageQuery, type_: TypeQuery = "") -> Response:
        found, total = await devices.page(page, type_)
        return json_answer(page_of([device_info_shown(one) for one in found], total, page))

    @router.get("/api/devices")
    async def devices_by_id(
        ids: Annotated[str, Query(alias="deviceIds", description="comma-separated")],
    ) -> Response:
        """Those that are there."""
        return json_answer([device_shown(one) for one in await devices.by_ids(ids)])


def _add_credentials(router: APIRouter, devices: "_Devices") -> None:
    @router.get("/api/device/{deviceId}/credentials")
    async def credentials(device: DevicePath) -> Response:
        return json_answer(await devices.credentials(str(device)))

    @router.post("/api/device/credentials")
    async def save_credentials(request: Request) -> Response:
        """An access token; the one before is good no longer."""
        return json_answer(await devices.save_credentials(request))


class _Devices:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._store = context.store.entities
        self._tenant_id = context.writing.tenant_id
        self._naming = asyncio.Lock()
        self.entities = Entities(context)

    async def save(self, request: Request, token: str | None) -> Entity:
        body = await json_object(request, self._context.writing.limits)
        saved, id_ = saved_body(body), id_of(body)
        async with self._naming:  # two of one name must not pass the check together
            if id_:
                await self.entities.known(DEVICE, id_)
            same = await self._store.named(self._tenant_id, DEVICE, saved["name"])
            if same is not None and same.entity_id != id_:
                raise bad_request("Device with such name already exists!")
            made = id_ or new_entity_id()
            changes = [self.entities.change(DEVICE, made, EntityAction.SAVED, body=saved)]
            if not id_ or token is not None:
                wanted = new_token() if token is None else await self._free_token(token, made)
                inner = token_credentials(wanted)
                changes.append(
                    self.entities.change(DEVICE, made, EntityAction.CREDENTIALS, body=inner)
                )
            await self.entities.submit(*changes)
        return await self.entities.known(DEVICE, made)

    async def delete(self, id_: str) -> None:
        await self.entities.known(DEVICE, id_)
        await self.entities.submit(self.entities.change(DEVICE, id_, EntityAction.DELETED))

    async def named(self, name: str) -> Entity:
        found = await self._store.named(self._tenant_id, DEVICE, name)
        if found is None:
            raise ApiError(404, ErrorCode.NOT_FOUND, f"Device with name [{name}] is not found")
        return found

    async def page(self, page: Page, type_: str) -> tuple[list[Entity], int]:
        found, total = await self._store.page(
            self._tenant_id,
            DEVICE,
            page.size,
            page.skip,
            profile=type_,
            text=page.text,
            order=page.order,
        )
        return list(found), total

    async def by_ids(self, text: str) -> list[Entity]:
        try:
            ids = [str(UUID(part)) for part in text.split(",") if part]
        except ValueError:
            raise bad_request("deviceIds: UUIDs with commas are wanted") from None
        if len(ids) > _MOST_IDS:
            raise bad_request(f"deviceIds: at most {_MOST_IDS} at a time")
        found = await self._store.entities([(DEVICE.value, id_) for id_ in dict.fromkeys(ids)])
        return [one for one in found.values() if not one.deleted]

    async def types(self) -> list[dict[str, Any]]:
        tenant = entity_id("TENANT", self._tenant_id)
        return [
            {"tenantId": tenant, "entityType": "DEVICE", "type": name}
            for name in await self._store.profiles(self._tenant_id, DEVICE)
        ]

    async def credentials(self, id_: str) -> dict[str, Any]:
        entity = await self.entities.known(DEVICE, id_)
        found = await self._store.credentials((DEVICE.value, id_))
        if found is None:
            raise ApiError(404, ErrorCode.NOT_FOUND, f"Device [{id_}] has no credentials")
        return credentials_shown(entity, found)

    async def save_credentials(self, request: Request) -> dict[str, Any]:
        body = await json_object(request, self._context.writing.limits)
        if body.get("credentialsType") != ACCESS_TOKEN:
            raise bad_request(f"credentialsType: {ACCESS_TOKEN} is supported, nothing else")
        id_ = id_of(body, "deviceId")
        if not id_:
            raise bad_request("deviceId: should be specified")
        await self.entities.known(DEVICE, id_)
        token = await self._free_token(text_of(body, "credentialsId", wanted=True), id_)
        inner = token_credentials(token)
        await self.entities.submit(
            self.entities.change(DEVICE, id_, EntityAction.CREDENTIALS, body=inner)
        )
        return await self.credentials(id_)

    async def _free_token(self, token: str, id_: str) -> str:
        """Raises ApiError when another device has it."""
        holder = await self._store.with_token(access_token(token))
        if holder is not None and holder != (DEVICE.value, id_):
            raise bad_request("Device credentials with such token already exist!")
        return token
