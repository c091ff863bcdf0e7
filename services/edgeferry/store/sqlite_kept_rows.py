"""Every entity, command and queued Edge Event of a SQLite store, for copying them elsewhere."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from edgeferry.core.changes import RpcStatus
from edgeferry.core.store import Credentials, Entity, QueuedEvent, QueueHead, Rpc
from edgeferry.store.seal import Seal
from edgeferry.store.sqlite_pages import PAGE_ROWS, After, SqlitePages

Row = TypeVar("Row")


class Kept(NamedTuple, Generic[Row]):
    """``at``: its primary key."""

    at: After
    row: Row


class Assignment(NamedTuple):
    entity_type: str
    entity_id: str
    edge_id: str


class EdgesEvent(NamedTuple):
    """A row of an edge's queue."""

    edge_id: str
    event: QueuedEvent


_QUEUE_ROWS = 200
"""A page of them: each may have a megabyte."""

_BY_ENTITY = "(entity_type, entity_id) > (?, ?) ORDER BY entity_type, entity_id"
_ENTITIES = f"""
SELECT entity_type, entity_id, {", ".join(Entity._fields[2:])} FROM known_entities
WHERE {_BY_ENTITY} LIMIT {PAGE_ROWS}
"""
_CREDENTIALS = f"""
SELECT entity_type, entity_id, sealed, version, origin, event_id FROM credentials
WHERE {_BY_ENTITY} LIMIT {PAGE_ROWS}
"""
_ASSIGNMENTS = f"""
SELECT entity_type, entity_id, edge_id FROM assignments
WHERE (entity_type, entity_id, edge_id) > (?, ?, ?)
ORDER BY entity_type, entity_id, edge_id LIMIT {PAGE_ROWS}
"""
_RPCS = f"""
SELECT {", ".join(Rpc._fields)} FROM rpcs WHERE rpc_id > ? ORDER BY rpc_id LIMIT {PAGE_ROWS}
"""
_EVENTS = f"""
SELECT edge, {", ".join(QueuedEvent._fields)} FROM edge_events
WHERE (edge, lane, seq) > (?, ?, ?) ORDER BY edge, lane, seq LIMIT {_QUEUE_ROWS}
"""
_HEADS = "SELECT edge, lane, first, next, sources FROM edge_event_heads ORDER BY edge, lane"


class SqliteKeptRows:
    """All raise StoreUnavailable, StoreUnusable."""

    def __init__(self, pages: SqlitePages, seal: Seal) -> None:
        self._pages = pages
        self._seal = seal

    def entities(self, after: After) -> AsyncIterator[Sequence[Kept[Entity]]]:
        return self._all(_ENTITIES, after or ("", ""), _entity)

    def credentials(self, after: After) -> AsyncIterator[Sequence[Kept[Credentials]]]:
        self._seal.open(make=False)
        return self._all(_CREDENTIALS, after or ("", ""), self._credentials)

    def _credentials(self, cells: tuple[Any, ...]) -> Credentials:
        entity_type, entity_id, sealed, *rest = cells
        key = (entity_type, entity_id)
        return Credentials(*key, self._seal.reveal(key, sealed), *rest)

    def assignments(self, after: After) -> AsyncIterator[Sequence[Kept[Assignment]]]:
        return self._all(_ASSIGNMENTS, after or ("", "", ""), Assignment._make)

    def rpcs(self, after: After) -> AsyncIterator[Sequence[Kept[Rpc]]]:
        return self._all(_RPCS, after or ("",), _rpc)

    def edge_events(self, after: After) -> AsyncIterator[Sequence[Kept[EdgesEvent]]]:
        return self._all(
            _EVENTS, after or ("", "", -1), lambda row: EdgesEvent(row[0], QueuedEvent(*row[1:]))
        )

    async def heads(self) -> Sequence[QueueHead]:
        """Of all lanes of all edges."""
        return [
            QueueHead(edge_id, lane, first, end, json.loads(sources))
            for edge_id, lane, first, end, sources in await self._pages.read(_HEADS, ())
        ]

    async def _all(
        self, sql: str, after: After, row_of: Callable[[tuple[Any, ...]], Row]
    ) -> AsyncIterator[Sequence[Kept[Row]]]:
        """A row begins with its primary key."""
        while rows := await self._pages.read(sql, after):
            yield [Kept(cells[: len(after)], row_of(cells)) for cells in rows]
            after = rows[-1][: len(after)]


def _entity(cells: tuple[Any, ...]) -> Entity:
    entity = Entity(*cells)
    return entity._replace(deleted=bool(entity.deleted))


def _rpc(cells: tuple[Any, ...]) -> Rpc:
    rpc = Rpc(*cells)
    return rpc._replace(status=RpcStatus(rpc.status))
