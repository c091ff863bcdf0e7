"""Edges of a Cloud: looking up, making, changing, what is assigned to them, and the events that
go to them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from edgeferry.api.bodies import bad_request
from edgeferry.api.context import AdmittedEdge, AdmittedEdges, ApiContext
from edgeferry.api.edge_events import event_shown
from edgeferry.api.entities import (
    Entities,
    check_version,
    device_shown,
    edge_shown,
    id_of,
    saved_body,
    text_of,
)
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import Page, entity_id, page_of, window
from edgeferry.api.profiles import DEFAULT_PROFILE
from edgeferry.core.changes import EntityAction, NotAppliedYet
from edgeferry.core.errors import InvalidSettings, StoreUnavailable
from edgeferry.core.message import EntityType
from edgeferry.core.store import Entity, EntityOrder

EDGE, DEVICE = EntityType.EDGE, EntityType.DEVICE
_ASSIGNED: Final = (EntityType.DEVICE, EntityType.ASSET, EntityType.ENTITY_VIEW)
_AT_ONCE: Final = 200
_MOST_SEARCHED: Final = 10_000
_DOWN: Final = (EntityOrder.NEWEST, EntityOrder.NAME_DOWN, EntityOrder.PROFILE_DOWN)
_BY_TYPE: Final = (EntityOrder.PROFILE, EntityOrder.PROFILE_DOWN)

Shown = Callable[[AdmittedEdge, Entity | None, str], dict[str, Any]]


class Edges:
    """All raise ApiError, StoreUnavailable; what changes, LogUnavailable, NotAppliedYet, too. An
    Edge answers 403: edges are the Cloud's."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._store = context.store
        self._tenant_id = context.writing.tenant_id
        self._entities = Entities(context)

    @property
    def enabled(self) -> bool:
        return self._context.writing.edges is not None

    @property
    def _admitted(self) -> AdmittedEdges:
        edges = self._context.writing.edges
        if edges is None:
            raise ApiError(403, ErrorCode.PERMISSION_DENIED, "Edges are the Cloud's to know")
        return edges

    def known(self, id_: str) -> AdmittedEdge:
        return self._one(lambda edge: edge.id == id_, f"Edge with id [{id_}]")

    def named(self, name: str) -> AdmittedEdge:
        return self._one(lambda edge: edge.name == name, f"Edge with name [{name}]")

    def _one(self, wanted: Callable[[AdmittedEdge], bool], text: str) -> AdmittedEdge:
        for edge in self._admitted.all():
            if wanted(edge):
                return edge
        raise ApiError(404, ErrorCode.NOT_FOUND, f"{text} is not found")

    def with_ids(self, ids: Sequence[str]) -> list[AdmittedEdge]:
        return [edge for edge in self._admitted.all() if edge.id in ids]

    async def shown(self, edge: AdmittedEdge, shown: Shown = edge_shown) -> dict[str, Any]:
        return (await self.all_shown([edge], shown))[0]

    async def all_shown(
        self, edges: Sequence[AdmittedEdge], shown: Shown = edge_shown
    ) -> list[dict[str, Any]]:
        keys = [(EDGE.value, edge.id) for edge in edges]
        known = await self._store.entities.entities(keys)
        return [
            shown(edge, known.get(key), self._tenant_id)
            for edge, key in zip(edges, keys, strict=True)
        ]

    async def page(self, page: Page, type_: str = "", shown: Shown = edge_shown) -> dict[str, Any]:
        wanted = page.text.casefold()
        edges = [edge for edge in self._admitted.all() if wanted in edge.name.casefold()]
        part = slice(page.skip, page.skip + page.limit)
        if not type_ and page.order not in _BY_TYPE:  # what the list itself knows is enough
            edges.sort(key=_sorting(page.order), reverse=page.order in _DOWN)
            return page_of(await self.all_shown(edges[part], shown), len(edges), page)
        found = [row for row in await self.all_shown(edges, shown) if type_ in ("", row["type"])]
        by_id = {edge.id: edge for edge in edges}
        found.sort(
            key=lambda row: (
                row["type"] if page.order in _BY_TYPE else "",
                _sorting(page.order)(by_id[row["id"]["id"]]),
            ),
            reverse=page.order in _DOWN,
        )
        return page_of(found[part], len(found), page)

    async def types(self) -> list[dict[str, Any]]:
        rows = await self.all_shown(self._admitted.all())
        tenant = entity_id("TENANT", self._tenant_id)
        kinds = sorted({row["type"] or DEFAULT_PROFILE for row in rows})
        return [{"tenantId": tenant, "entityType": "EDGE", "type": kind} for kind in kinds]

    async def save(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new one, with its secret; or with an id one that is there."""
        saved, id_ = saved_body(body), id_of(body)
        key, secret = text_of(body, "routingKey"), text_of(body, "secret")
        if not id_:
            return await self._make(saved, key, secret)
        edge = self.known(id_)
        self._check_kept(edge, saved["name"], key, secret)
        check_version(body, (await self.shown(edge))["version"])
        change = self._entities.change(EDGE, edge.id, EntityAction.SAVED, body=saved)
        await self._entities.submit(change)
        return await self.shown(edge)

    async def _make(self, saved: Mapping[str, Any], key: str, secret: str) -> dict[str, Any]:
        """Its secret is shown, or it was not made: the caller may ask again."""
        edge = await self._add(saved["name"], key, secret)
        change = self._entities.change(EDGE, edge.id, EntityAction.SAVED, body=saved)
        try:
            await self._entities.submit(change)
        except NotAppliedYet:
            pass  # it will be
        except BaseException:
            await asyncio.to_thread(self._admitted.take_back, edge.name)
            raise
        try:
            return await self.shown(edge)
        except StoreUnavailable:
            return edge_shown(edge, None, self._tenant_id)

    async def _add(self, name: str, key: str, secret: str) -> AdmittedEdge:
        if any(edge.name == name for edge in self._admitted.all()):
            raise bad_request("Edge with such name already exists!")
        try:
            return await asyncio.to_thread(self._admitted.add, name, key, secret)
        except InvalidSettings as error:
            raise bad_request(str(error)) from None

    def _check_kept(self, edge: AdmittedEdge, name: str, key: str, secret: str) -> None:
        if edge.name != name:
            raise bad_request("name: an edge keeps the name that it was made with")
        if key and key != edge.key:
            raise bad_request("routingKey: an edge keeps the one that it was made with")
        if secret and not self._admitted.has_secret(edge.key, secret):
            raise bad_request("secret: `edgeferry edges rotate` gives an edge a new one")

    async def delete(self, id_: str) -> None:
        """What is assigned to it is so no longer. It is in the list until all is done: what
        failed half way is asked for again."""
        edge = self.known(id_)
        for kind in _ASSIGNED:
            every = await self._assigned(id_, Page(_AT_ONCE, 0, ""), kind)
            await self._for_each(every, EntityAction.UNASSIGNED, id_)
        await self._entities.submit(self._entities.change(EDGE, id_, EntityAction.DELETED))
        await asyncio.to_thread(self._admitted.remove, edge.name)

    async def assign(self, edge_id: str, device_id: str, action: EntityAction) -> dict[str, Any]:
        """From an edge that nobody knows any more it can be taken away."""
        key = (DEVICE.value, device_id)
        left = action is EntityAction.UNASSIGNED and edge_id in (
            await self._store.entities.edges_of([key])
        ).get(key, ())
        if not left:
            self.known(edge_id)
        device = await self._entities.known(DEVICE, device_id)
        change = self._entities.change(DEVICE, device_id, action, edge_id=edge_id)
        await self._entities.submit(change)
        return device_shown(device)

    async def devices(self, edge_id: str, page: Page, type_: str) -> tuple[Sequence[Entity], int]:
        """Those that are assigned to it, and how many there are in all."""
        self.known(edge_id)
        if type_:
            every = [one for one in await self._assigned(edge_id, page) if one.profile == type_]
            return every[page.skip : page.skip + page.limit], len(every)
        return await self._store.entities.assigned(
            edge_id, DEVICE, page.limit, page.skip, text=page.text, order=page.order
        )

    async def _assigned(self, edge_id: str, page: Page, kind: str = DEVICE) -> list[Entity]:
        """All that a list has."""
        every: list[Entity] = []
        total = 1
        while len(every) < total:
            some, total = await self._store.entities.assigned(
                edge_id, kind, _AT_ONCE, len(every), text=page.text, order=page.order
            )
            every += some
            if not some:
                break
        return every

    async def _for_each(self, every: Sequence[Entity], action: EntityAction, edge_id: str) -> None:
        for begin in range(0, len(every), _AT_ONCE):
            await self._entities.submit(
                *(
                    self._entities.change(
                        EntityType(one.entity_type), one.entity_id, action, edge_id=edge_id
                    )
                    for one in every[begin : begin + _AT_ONCE]
                )
            )

    async def sync(self, edge_id: str) -> None:
        """Send it all that is assigned to it again."""
        self.known(edge_id)
        every = await self._assigned(edge_id, Page(_AT_ONCE, 0, ""))
        await self._for_each(every, EntityAction.SNAPSHOT, edge_id)

    async def events(self, edge_id: str, page: Page, bounds: tuple[int, int]) -> dict[str, Any]:
        """What was queued for it; textSearch: of the types of the newest 10,000."""
        self.known(edge_id)
        events = self._store.edge_events
        if page.text:
            every, _ = await events.find(edge_id, *bounds, _MOST_SEARCHED)
            wanted = page.text.casefold()
            matching = [one for one in every if wanted in one.type.casefold()]
            total = len(matching)
            part = window(page, total)
            found = matching[part.skip : part.skip + part.limit]
        else:
            _, total = await events.find(edge_id, *bounds, 1)
            part = window(page, total)
            some, _ = await events.find(edge_id, *bounds, part.limit, part.skip)
            found = list(some)
        if part.turned:
            found.reverse()
        return page_of([event_shown(edge_id, self._tenant_id, one) for one in found], total, page)


def _sorting(order: EntityOrder) -> Callable[[AdmittedEdge], Any]:
    if order in (EntityOrder.NEWEST, EntityOrder.OLDEST):
        return lambda edge: UUID(edge.id).time
    return lambda edge: edge.name.casefold()
