"""Device profiles, to be read (semantics of the field, section 7.4): the names in use and the
default one."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from edgeferry.api import shapes
from edgeferry.api.answers import json_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.devices import Devices, ids_of
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import Page, PageQuery, page_of
from edgeferry.api.profiles import (
    DEFAULT_PROFILE,
    profile_id,
    profile_info_shown,
    profile_name_shown,
    profile_shown,
)
from edgeferry.api.routes.documented import ERRORS, TOKEN_WANTED
from edgeferry.core.store import EntityOrder

ProfilePath = Annotated[UUID, Path(alias="deviceProfileId")]
_DOWN = (EntityOrder.NAME_DOWN, EntityOrder.PROFILE_DOWN)


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["device profile"], dependencies=TOKEN_WANTED, responses=ERRORS)
    profiles = _Profiles(context)
    _add_lists(router, profiles)

    @router.get("/api/deviceProfileInfo/default", response_model=shapes.DeviceProfileInfo)
    async def default_profile_info() -> Response:
        return json_answer(profile_info_shown(profiles.tenant_id, DEFAULT_PROFILE))

    @router.get("/api/deviceProfileInfo/{deviceProfileId}", response_model=shapes.DeviceProfileInfo)
    async def profile_info(profile: ProfilePath) -> Response:
        return json_answer(profile_info_shown(profiles.tenant_id, await profiles.name(profile)))

    @router.get("/api/deviceProfile/{deviceProfileId}", response_model=shapes.DeviceProfile)
    async def get_profile(profile: ProfilePath) -> Response:
        return json_answer(profile_shown(profiles.tenant_id, await profiles.name(profile)))

    return router


def _add_lists(router: APIRouter, profiles: "_Profiles") -> None:
    @router.get("/api/deviceProfileInfos", response_model=shapes.Page[shapes.DeviceProfileInfo])
    async def profile_infos(
        page: PageQuery,
        transport: Annotated[Literal["DEFAULT"] | None, Query(alias="transportType")] = None,
    ) -> Response:
        return json_answer(await profiles.page(page, profile_info_shown))

    @router.get("/api/deviceProfiles", response_model=shapes.Page[shapes.DeviceProfile])
    async def all_profiles(page: PageQuery) -> Response:
        return json_answer(await profiles.page(page, profile_shown))

    @router.get("/api/deviceProfileInfos/list", response_model=list[shapes.DeviceProfileInfo])
    async def profile_infos_by_id(
        ids: Annotated[str, Query(alias="deviceProfileIds", description="UUIDs with commas")],
    ) -> Response:
        """Those that are there."""
        wanted = set(ids_of(ids, "deviceProfileIds"))
        tenant_id = profiles.tenant_id
        return json_answer(
            [
                profile_info_shown(tenant_id, name)
                for name in await profiles.names()
                if profile_id(tenant_id, name) in wanted
            ]
        )

    @router.get("/api/deviceProfile/names", response_model=list[shapes.ProfileName])
    async def profile_names(
        active: Annotated[bool, Query(alias="activeOnly", description="all are in use")] = False,
    ) -> Response:
        names = await profiles.names()
        return json_answer([profile_name_shown(profiles.tenant_id, name) for name in names])


class _Profiles:
    def __init__(self, context: ApiContext) -> None:
        self._devices = Devices(context)
        self.tenant_id = context.writing.tenant_id

    async def names(self) -> list[str]:
        return await self._devices.profiles()

    async def name(self, profile: UUID) -> str:
        """Raises ApiError."""
        for name in await self.names():
            if profile_id(self.tenant_id, name) == str(profile):
                return name
        text = f"Device profile with id [{profile}] is not found"
        raise ApiError(404, ErrorCode.NOT_FOUND, text)

    async def page(self, page: Page, shown: Callable[[str, str], Any]) -> dict[str, Any]:
        wanted = page.text.casefold()
        names = [name for name in await self.names() if wanted in name.casefold()]
        if page.order in _DOWN:
            names.reverse()
        some = names[page.skip : page.skip + page.size]
        return page_of([shown(self.tenant_id, name) for name in some], len(names), page)
