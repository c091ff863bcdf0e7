"""Pages of lists, as the field shows them: ``{data, totalPages, totalElements, hasNext}``."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Depends, Query

from edgeferry.core.store import EntityOrder

SortName = Literal["createdTime", "name"]

NULL_ID = "13814000-1dd2-11b2-8080-808080808080"
"""The field's id for "no customer"."""


class Page(NamedTuple):
    size: int
    number: int
    text: str
    order: EntityOrder = EntityOrder.NEWEST

    @property
    def skip(self) -> int:
        return self.size * self.number


def _order(
    by: Annotated[SortName, Query(alias="sortProperty")] = "createdTime",
    way: Annotated[Literal["ASC", "DESC"] | None, Query(alias="sortOrder")] = None,
) -> EntityOrder:
    """By name from A on, by time from the newest on, if it is not said."""
    if by == "name":
        return EntityOrder.NAME_DOWN if way == "DESC" else EntityOrder.NAME
    return EntityOrder.OLDEST if way == "ASC" else EntityOrder.NEWEST


OrderQuery = Annotated[EntityOrder, Depends(_order)]


def _page(
    order: OrderQuery,
    size: Annotated[int, Query(alias="pageSize", ge=1, le=1000)],
    number: Annotated[int, Query(alias="page", ge=0, le=1_000_000)],
    text: Annotated[str, Query(alias="textSearch", max_length=255)] = "",
) -> Page:
    return Page(size, number, text, order)


PageQuery = Annotated[Page, Depends(_page)]


def page_of(rows: Sequence[Any], total: int, page: Page) -> dict[str, Any]:
    return {
        "data": list(rows),
        "totalPages": -(-total // page.size),
        "totalElements": total,
        "hasNext": page.skip + len(rows) < total,
    }


def entity_id(kind: str, id_: str) -> dict[str, str]:
    return {"entityType": kind, "id": id_}
