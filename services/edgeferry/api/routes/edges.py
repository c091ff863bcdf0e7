"""Edges, what is assigned to them, and the events that go to them (semantics of the field,
section 7.4). Edges are the Cloud's: an Edge answers 403."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from edgeferry.api import shapes
from edgeferry.api.answers import json_answer
from edgeferry.api.bodies import bad_request, json_object
from edgeferry.api.cloud_events import CloudEvents
from edgeferry.api.context import ApiContext
from edgeferry.api.devices import Devices, ids_of
from edgeferry.api.edges import Edges
from edgeferry.api.entities import (
    MOST_CHARACTERS,
    edge_info_shown,
)
from edgeferry.api.pages import (
    NumberQuery,
    OptionalSizeQuery,
    OrderQuery,
    Page,
    PageByTimeQuery,
    PageQuery,
    TextQuery,
    page_of,
)
from edgeferry.api.routes.documented import EDGE, ERRORS, TOKEN_WANTED, takes
from edgeferry.core.changes import EntityAction

_FAR_MS: Final = 2**62

EdgePath = Annotated[UUID, Path(alias="edgeId")]
DevicePath = Annotated[UUID, Path(alias="deviceId")]
TypeQuery = Annotated[str, Query(alias="type", max_length=MOST_CHARACTERS)]
IdsQuery = Annotated[str | None, Query(alias="edgeIds", description="UUIDs with commas")]
StartQuery = Annotated[int | None, Query(alias="startTime", ge=0, le=2**53)]
EndQuery = Annotated[int | None, Query(alias="endTime", ge=0, le=2**53)]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["edge"], dependencies=TOKEN_WANTED, responses=ERRORS)
    edges = Edges(context)
    _add_lists(router, edges)
    _add_events(router, edges, CloudEvents(context))
    _add_saving(router, context, edges)
    _add_one(router, edges)
    _add_assignment(router, edges, Devices(context))
    return router


def _add_lists(router: APIRouter, edges: Edges) -> None:
    @router.get("/api/edgeInfos/all", response_model=shapes.Page[shapes.EdgeInfo])
    @router.get("/api/tenant/edgeInfos", response_model=shapes.Page[shapes.EdgeInfo])
    async def edge_infos(page: PageQuery, type_: TypeQuery = "") -> Response:
        return json_answer(await edges.page(page, type_, edge_info_shown))

    @router.get("/api/edges", response_model=shapes.Page[shapes.Edge] | list[shapes.Edge])
    async def all_edges(
        order: OrderQuery,
        ids: IdsQuery = None,
        size: OptionalSizeQuery = None,
        number: NumberQuery = 0,
        text: TextQuery = "",
    ) -> Response:
        """A page of them, which wants a pageSize, or those of some ids that are there."""
        if ids is not None:
            return json_answer(await _by_ids(edges, ids))
        return json_answer(await edges.page(_page(size, number, text, order)))

    @router.get("/api/edges/list", response_model=list[shapes.Edge])
    async def edges_by_id(
        ids: Annotated[str, Query(alias="edgeIds", description="UUIDs with commas")],
    ) -> Response:
        """Those that are there."""
        return json_answer(await _by_ids(edges, ids))

    @router.get("/api/edges/enabled", response_model=bool)
    async def edges_enabled() -> Response:
        """In a Cloud."""
        return json_answer(edges.enabled)

    @router.get("/api/tenant/edges", response_model=shapes.Page[shapes.Edge] | shapes.Edge)
    async def tenant_edges(
        order: OrderQuery,
        name: Annotated[str | None, Query(alias="edgeName", max_length=MOST_CHARACTERS)] = None,
        size: OptionalSizeQuery = None,
        number: NumberQuery = 0,
        text: TextQuery = "",
        type_: TypeQuery = "",
    ) -> Response:
        """A page of them, which wants a pageSize, or the one of a name."""
        if name is not None:
            return json_answer(await edges.shown(edges.named(name)))
        return json_answer(await edges.page(_page(size, number, text, order), type_))

    @router.get("/api/tenant/edge", response_model=shapes.Edge)
    async def edge_by_name(
        name: Annotated[str, Query(alias="edgeName", max_length=MOST_CHARACTERS)],
    ) -> Response:
        return json_answer(await edges.shown(edges.named(name)))

    @router.get("/api/edge/types", response_model=list[shapes.EntitySubtype])
    async def edge_types() -> Response:
        return json_answer(await edges.types())


def _page(size: int | None, number: int, text: str, order: Any) -> Page:
    """Raises ApiError."""
    if size is None:
        raise bad_request("pageSize: a number is wanted")
    return Page(size, number, text, order)


async def _by_ids(edges: Edges, ids: str) -> list[dict[str, Any]]:
    return await edges.all_shown(edges.with_ids(ids_of(ids, "edgeIds")))


def _add_saving(router: APIRouter, context: ApiContext, edges: Edges) -> None:
    @router.post("/api/edge", response_model=shapes.Edge, openapi_extra=takes(EDGE))
    async def save_edge(request: Request) -> Response:
        """A new one, whose secret is in this answer and nowhere else; or with an id one that
        is there."""
        body = await json_object(request, context.writing.limits)
        return json_answer(await edges.save(body))

    @router.post("/api/edge/sync/{edgeId}", response_class=Response)
    async def sync_edge(edge: EdgePath) -> Response:
        """Send it all that is assigned to it again."""
        await edges.sync(str(edge))
        return Response()


def _add_one(router: APIRouter, edges: Edges) -> None:
    @router.get("/api/edge/{edgeId}", response_model=shapes.Edge)
    async def get_edge(edge: EdgePath) -> Response:
        return json_answer(await edges.shown(edges.known(str(edge))))

    @router.get("/api/edge/info/{edgeId}", response_model=shapes.EdgeInfo)
    async def get_edge_info(edge: EdgePath) -> Response:
        return json_answer(await edges.shown(edges.known(str(edge)), edge_info_shown))

    @router.delete("/api/edge/{edgeId}", response_class=Response)
    async def delete_edge(edge: EdgePath) -> Response:
        """It is admitted no longer; what it has sent stays."""
        await edges.delete(str(edge))
        return Response()


def _add_assignment(router: APIRouter, edges: Edges, devices: Devices) -> None:
    @router.post("/api/edge/{edgeId}/device/{deviceId}", response_model=shapes.Device)
    async def assign(edge: EdgePath, device: DevicePath) -> Response:
        return json_answer(await edges.assign(str(edge), str(device), EntityAction.ASSIGNED))

    @router.delete("/api/edge/{edgeId}/device/{deviceId}", response_model=shapes.Device)
    async def unassign(edge: EdgePath, device: DevicePath) -> Response:
        return json_answer(await edges.assign(str(edge), str(device), EntityAction.UNASSIGNED))

    @router.get("/api/edge/{edgeId}/devices", response_model=shapes.Page[shapes.DeviceInfo])
    async def devices_of_edge(edge: EdgePath, page: PageQuery, type_: TypeQuery = "") -> Response:
        found, total = await edges.devices(str(edge), page, type_)
        return json_answer(page_of(await devices.infos(found), total, page))


def _add_events(router: APIRouter, edges: Edges, cloud_events: CloudEvents) -> None:
    @router.get("/api/edge/events", response_model=shapes.Page[shapes.CloudEvent])
    async def events_of_this_edge(
        page: PageByTimeQuery, start: StartQuery = None, end: EndQuery = None
    ) -> Response:
        """At an Edge: what was made for the Cloud, as long as its log holds it."""
        return json_answer(await cloud_events.page(page, _bounds(start, end)))

    @router.get("/api/edge/{edgeId}/events", response_model=shapes.Page[shapes.EdgeEvent])
    async def events_of_edge(
        edge: EdgePath, page: PageByTimeQuery, start: StartQuery = None, end: EndQuery = None
    ) -> Response:
        """What was queued for it, the newest first; textSearch: of their types."""
        return json_answer(await edges.events(str(edge), page, _bounds(start, end)))


def _bounds(start: int | None, end: int | None) -> tuple[int, int]:
    return 0 if start is None else start, _FAR_MS if end is None else end
