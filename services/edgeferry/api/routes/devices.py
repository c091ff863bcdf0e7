"""Devices and their credentials (semantics of the field, section 7.4)."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from edgeferry.api import shapes
from edgeferry.api.answers import json_answer
from edgeferry.api.bodies import bad_request, json_object
from edgeferry.api.context import ApiContext
from edgeferry.api.devices import Devices
from edgeferry.api.entities import MOST_CHARACTERS, device_shown
from edgeferry.api.pages import (
    NumberQuery,
    OptionalSizeQuery,
    OrderQuery,
    Page,
    PageQuery,
    TextQuery,
    page_of,
)
from edgeferry.api.profiles import profile_id
from edgeferry.api.routes.documented import (
    CREDENTIALS,
    DEVICE,
    DEVICE_WITH_CREDENTIALS,
    ERRORS,
    TOKEN_WANTED,
    takes,
)

DevicePath = Annotated[UUID, Path(alias="deviceId")]
NameQuery = Annotated[str, Query(alias="deviceName", max_length=MOST_CHARACTERS)]
TypeQuery = Annotated[str, Query(alias="type", max_length=MOST_CHARACTERS)]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["device"], dependencies=TOKEN_WANTED, responses=ERRORS)
    devices = Devices(context)
    _add_saving(router, context, devices)
    _add_one(router, devices)
    _add_lists(router, context, devices)
    return router


def _add_saving(router: APIRouter, context: ApiContext, devices: Devices) -> None:
    limits = context.writing.limits

    @router.post("/api/device", response_model=shapes.Device, openapi_extra=takes(DEVICE))
    async def save_device(
        request: Request, token: Annotated[str | None, Query(alias="accessToken")] = None
    ) -> Response:
        """A new one, or with an id one that is there."""
        body = await json_object(request, limits)
        return json_answer(device_shown(await devices.save(body, token=token)))

    @router.post(
        "/api/device-with-credentials",
        response_model=shapes.Device,
        openapi_extra=takes(DEVICE_WITH_CREDENTIALS),
    )
    async def save_device_with_credentials(request: Request) -> Response:
        """Both at once."""
        body = await json_object(request, limits)
        device, credentials = body.get("device"), body.get("credentials")
        if not isinstance(device, dict) or not isinstance(credentials, dict):
            raise bad_request("the body: an object with device and credentials is wanted")
        return json_answer(device_shown(await devices.save(device, credentials=credentials)))

    @router.post(
        "/api/device/credentials",
        response_model=shapes.Credentials,
        openapi_extra=takes(CREDENTIALS),
    )
    async def save_credentials(request: Request) -> Response:
        """The ones before are good no longer."""
        return json_answer(await devices.credentials.save(await json_object(request, limits)))


def _add_one(router: APIRouter, devices: Devices) -> None:
    @router.get("/api/device/types", response_model=list[shapes.EntitySubtype])
    async def device_types() -> Response:
        return json_answer(await devices.types())

    @router.get("/api/device/info/{deviceId}", response_model=shapes.DeviceInfo)
    async def device_info(device: DevicePath) -> Response:
        return json_answer((await devices.infos([await devices.get(str(device))]))[0])

    @router.get("/api/device/{deviceId}", response_model=shapes.Device)
    async def get_device(device: DevicePath) -> Response:
        return json_answer(device_shown(await devices.get(str(device))))

    @router.delete("/api/device/{deviceId}", response_class=Response)
    async def delete_device(device: DevicePath) -> Response:
        """With its attributes; its stored time series stay."""
        await devices.delete(str(device))
        return Response()

    @router.get("/api/device/{deviceId}/credentials", response_model=shapes.Credentials)
    async def credentials(device: DevicePath) -> Response:
        return json_answer(await devices.credentials.shown(str(device)))

    @router.get("/api/tenant/device", response_model=shapes.Device)
    async def device_by_name(name: NameQuery) -> Response:
        return json_answer(device_shown(await devices.named(name)))


def _add_lists(router: APIRouter, context: ApiContext, devices: Devices) -> None:
    tenant_id = context.writing.tenant_id

    @router.get("/api/tenant/devices", response_model=shapes.Page[shapes.Device] | shapes.Device)
    async def tenant_devices(
        order: OrderQuery,
        name: Annotated[str | None, Query(alias="deviceName", max_length=MOST_CHARACTERS)] = None,
        size: OptionalSizeQuery = None,
        number: NumberQuery = 0,
        text: TextQuery = "",
        type_: TypeQuery = "",
    ) -> Response:
        """A page of them, which wants a pageSize, or the one of a name."""
        if name is not None:
            return json_answer(device_shown(await devices.named(name)))
        if size is None:
            raise bad_request("pageSize: give a number, or a deviceName")
        page = Page(size, number, text, order)
        found, total = await devices.page(page, type_)
        return json_answer(page_of([device_shown(one) for one in found], total, page))

    @router.get("/api/deviceInfos/all", response_model=shapes.Page[shapes.DeviceInfo])
    @router.get("/api/tenant/deviceInfos", response_model=shapes.Page[shapes.DeviceInfo])
    async def tenant_device_infos(
        page: PageQuery,
        type_: TypeQuery = "",
        profile: Annotated[UUID | None, Query(alias="deviceProfileId")] = None,
    ) -> Response:
        if profile is not None:
            names = {profile_id(tenant_id, name): name for name in await devices.profiles()}
            type_ = names.get(str(profile), "")
            if not type_:
                return json_answer(page_of([], 0, page))
        found, total = await devices.page(page, type_)
        return json_answer(page_of(await devices.infos(found), total, page))

    @router.get("/api/devices", response_model=list[shapes.Device])
    async def devices_by_id(
        ids: Annotated[str, Query(alias="deviceIds", description="UUIDs with commas")],
    ) -> Response:
        """Those that are there."""
        return json_answer([device_shown(one) for one in await devices.by_ids(ids)])
