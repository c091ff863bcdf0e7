"""Edges, what is assigned to them, and the events that go to them (semantics of the field,
section 7.4). Edges are the Cloud's: an Edge answers 403."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from edgeferry.api.answers import json_answer
from edgeferry.api.bodies import bad_request, json_object
from edgeferry.api.context import AdmittedEdge, AdmittedEdges, ApiContext
from edgeferry.api.edge_events import event_shown
from edgeferry.api.entities import (
    DEFAULT_TYPE,
    MOST_CHARACTERS,
    Entities,
    device_shown,
    edge_shown,
    id_of,
    saved_body,
)
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import OrderQuery, Page, PageQuery, entity_id, page_of
from edgeferry.api.routes.documented import TOKEN_WANTED
from edgeferry.core.changes import EntityAction
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityOrder

EDGE, DEVICE = EntityType.EDGE, EntityType.DEVICE
_AT_ONCE: Final = 200
_MOST_SEARCHED: Final = 10_000
_FAR_MS: Final = 2**62

EdgePath = Annotated[UUID, Path(alias="edgeId")]
DevicePath = Annotated[UUID, Path(alias="deviceId")]
SizeQuery = Annotated[int | None, Query(alias="pageSize", ge=1, le=1000)]
NumberQuery = Annotated[int, Query(alias="page", ge=0, le=1_000_000)]
TextQuery = Annotated[str, Query(alias="textSearch", max_length=MOST_CHARACTERS)]
TimeQuery = Annotated[int | None, Query(ge=0, le=2**53)]


def routes(context: ApiContext) -> APIRouter:
    router = APIRouter(tags=["edge"], dependencies=TOKEN_WANTED)
    edges = _Edges(context)
    _add_lists(router, edges)
    _add_one(router, edges)
    _add_assignment(router, edges)
    _add_events(router, edges)
    return router


def _add_lists(router: APIRouter, edges: "_Edges") -> None:
    @router.get("/api/edges")
    @router.get("/api/tenant/edgeInfos")
    async def all_edges(page: PageQuery) -> Response:
        return json_answer(await edges.page(page))

    @router.get("/api/tenant/edges")
    async def tenant_edges(
        order: OrderQuery,
        name: Annotated[str | None, Query(alias="edgeName", max_length=MOST_CHARACTERS)] = None,
        size: SizeQuery = None,
        number: NumberQuery = 0,
        text: TextQuery = "",
    ) -> Response:
        """A page of them, or the one of a name."""
        if name is not None:
            return json_answer(await edges.shown(edges.named(name)))
        if size is None:
            raise bad_request("pageSize: give a number, or an edgeName")
        return json_answer(await edges.page(Page(size, number, text, order)))

    @router.get("/api/edge/types")
    async def edge_types() -> Response:
        return json_answer(await edges.types())


def _add_one(router: APIRouter, edges: "_Edges") -> None:
    @router.post("/api/edge")
    async def save_edge(request: Request) -> Response:
        """A new one, whose secret is in this answer and nowhere else; or with an id one that
        is there."""
        return json_answer(await edges.save(request))

    @router.get("/api/edge/{edgeId}")
    @router.get("/api/edge/info/{edgeId}")
    async def get_edge(edge: EdgePath) -> Response:
        return json_answer(await edges.shown(edges.known(str(edge))))

    @router.delete("/api/edge/{edgeId}", response_class=Response)
    async def delete_edge(edge: EdgePath) -> Response:
        """It is admitted no longer; what it has sent stays."""
        await edges.delete(str(edge))
        return Response()

    @router.post("/api/edge/sync/{edgeId}", response_class=Response)
    async def sync_edge(edge: EdgePath) -> Response:
        """Send it all that is assigned to it again."""
        await edges.sync(str(edge))
        return Response()


def _add_assignment(router: APIRouter, edges: "_Edges") -> None:
    @router.post("/api/edge/{edgeId}/device/{deviceId}")
    async def assign(edge: EdgePath, device: DevicePath) -> Response:
        return json_answer(await edges.assign(str(edge), str(device), EntityAction.ASSIGNED))

    @router.delete("/api/edge/{edgeId}/device/{deviceId}")
    async def unassign(edge: EdgePath, device: DevicePath) -> Response:
        return json_answer(await edges.assign(str(edge), str(device), EntityAction.UNASSIGNED))

    @router.get("/api/edge/{edgeId}/devices")
    async def devices_of_edge(edge: EdgePath, page: PageQuery) -> Response:
        return json_answer(await edges.devices(str(edge), page))


def _add_events(router: APIRouter, edges: "_Edges") -> None:
    @router.get("/api/edge/{edgeId}/events")
    async def events_of_edge(
        edge: EdgePath,
        page: PageQuery,
        start: Annotated[TimeQuery, Query(alias="startTime")] = None,
        end: Annotated[TimeQuery, Query(alias="endTime")] = None,
    ) -> Response:
        """What was queued for it, the newest first; textSearch: of their types."""
        bounds = (0 if start is None else start, _FAR_MS if end is None else end)
        return json_answer(await edges.events(str(edge), page, bounds))


class _Edges:
    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._store = context.store
        self._tenant_id = context.writing.tenant_id
        self._entities = Entities(context)

    @property
    def _admitted(self) -> AdmittedEdges:
        edges = self._context.writing.edges
        if edges is None:
            raise ApiError(403, ErrorCode.PERMISSION_DENIED, "Edges are the Cloud's to know")
        return edges

    def known(self, id_: str) -> AdmittedEdge:
        for edge in self._admitted.all():
            if edge.id == id_:
                return edge
        raise ApiError(404, ErrorCode.NOT_FOUND, f"Edge with id [{id_}] is not found")

    def named(self, name: str) -> AdmittedEdge:
        for edge in self._admitted.all():
            if edge.name == name:
                return edge
        raise ApiError(404, ErrorCode.NOT_FOUND, f"Edge with name [{name}] is not found")

    async def shown(self, edge: AdmittedEdge) -> dict[str, Any]:
        return (await self._all_shown([edge]))[0]

    async def _all_shown(self, edges: Sequence[AdmittedEdge]) -> list[dict[str, Any]]:
        keys = [(EDGE.value, edge.id) for edge in edges]
        known = await self._store.entities.entities(keys)
        return [
            edge_shown(edge, known.get(key), self._tenant_id)
            for edge, key in zip(edges, keys, strict=True)
        ]

    async def page(self, page: Page) -> dict[str, Any]:
        wanted = page.text.casefold()
        found = [edge for edge in self._admitted.all() if wanted in edge.name.casefold()]
        if page.order in (EntityOrder.NAME, EntityOrder.NAME_DOWN):
            found.sort(key=lambda edge: edge.name.casefold())
        else:
            found.sort(key=lambda edge: UUID(edge.id).time)
        if page.order in (EntityOrder.NEWEST, EntityOrder.NAME_DOWN):
            found.reverse()
        rows = await self._all_shown(found[page.skip : page.skip + page.size])
        return page_of(rows, len(found), page)

    async def types(self) -> list[dict[str, Any]]:
        rows = await self._all_shown(list(self._admitted.all()))
        tenant = entity_id("TENANT", self._tenant_id)
        kinds = sorted({row["type"] or DEFAULT_TYPE for row in rows})
        return [{"tenantId": tenant, "entityType": "EDGE", "type": kind} for kind in kinds]

    async def save(self, request: Request) -> dict[str, Any]:
        body = await json_object(request, self._context.writing.limits)
        saved, id_ = saved_body(body), id_of(body)
        if id_:
            edge = self.known(id_)
            if edge.name != saved["name"]:
                raise bad_request("name: an edge keeps the name that it was made with")
        else:
            try:
                edge = await asyncio.to_thread(self._admitted.add, saved["name"])
            except InvalidSettings as error:
                raise bad_request(str(error)) from None
        await self._entities.submit(
            self._entities.change(EDGE, edge.id, EntityAction.SAVED, body=saved)
        )
        return await self.shown(edge)

    async def delete(self, id_: str) -> None:
        edge = self.known(id_)
        await asyncio.to_thread(self._admitted.remove, edge.name)
        await self._entities.submit(self._entities.change(EDGE, id_, EntityAction.DELETED))

    async def assign(self, edge_id: str, device_id: str, action: EntityAction) -> dict[str, Any]:
        self.known(edge_id)
        device = await self._entities.known(DEVICE, device_id)
        await self._entities.submit(
            self._entities.change(DEVICE, device_id, action, edge_id=edge_id)
        )
        return device_shown(device)

    async def devices(self, edge_id: str, page: Page) -> dict[str, Any]:
        self.known(edge_id)
        found, total = await self._store.entities.assigned(
            edge_id, DEVICE, page.size, page.skip, text=page.text, order=page.order
        )
        return page_of([device_shown(one) for one in found], total, page)

    async def sync(self, edge_id: str) -> None:
        self.known(edge_id)
        skip, total = 0, 1
        while skip < total:
            found, total = await self._store.entities.assigned(edge_id, DEVICE, _AT_ONCE, skip)
            skip += _AT_ONCE
            await self._entities.submit(
                *(
                    self._entities.change(
                        DEVICE, one.entity_id, EntityAction.SNAPSHOT, edge_id=edge_id
                    )
                    for one in found
                )
            )

    async def events(self, edge_id: str, page: Page, bounds: tuple[int, int]) -> dict[str, Any]:
        self.known(edge_id)
        events = self._store.edge_events
        if page.text:
            every, _ = await events.find(edge_id, *bounds, _MOST_SEARCHED)
            wanted = page.text.casefold()
            matching = [one for one in every if wanted in one.type.casefold()]
            total, found = len(matching), matching[page.skip : page.skip + page.size]
        else:
            some, total = await events.find(edge_id, *bounds, page.size, page.skip)
            found = list(some)
        return page_of([event_shown(edge_id, self._tenant_id, one) for one in found], total, page)
