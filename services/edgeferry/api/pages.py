"""Pages of lists, as the field shows them: ``{data, totalPages, totalElements, hasNext}``."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from fastapi import Depends, Query

from edgeferry.api.bodies import bad_request
from edgeferry.core.store import EntityOrder

NULL_ID: Final = "13814000-1dd2-11b2-8080-808080808080"
"""The field's id for "no customer"."""

_INT_MAX: Final = 2**31 - 1
_BY_TYPE: Final = ("type", "deviceProfileName")
SortName = Literal["createdTime", "name", "type", "deviceProfileName"]
Way = Literal["ASC", "DESC"]

WayQuery = Annotated[Way | None, Query(alias="sortOrder")]
MOST_ROWS: Final = 10_000
"""Of one answer: it is made in memory."""

SizeQuery = Annotated[int, Query(alias="pageSize", ge=1, le=_INT_MAX)]
NumberQuery = Annotated[int, Query(alias="page", ge=0, le=1_000_000)]
TextQuery = Annotated[str, Query(alias="textSearch", max_length=255)]
OptionalSizeQuery = Annotated[int | None, Query(alias="pageSize", ge=1, le=_INT_MAX)]


class Page(NamedTuple):
    """size: as asked for; many clients ask for all at once with a very large one."""

    size: int
    number: int
    text: str
    order: EntityOrder = EntityOrder.NEWEST

    @property
    def skip(self) -> int:
        return self.size * self.number

    @property
    def limit(self) -> int:
        """How many rows to fetch."""
        return min(self.size, MOST_ROWS)


def _order(
    by: Annotated[SortName, Query(alias="sortProperty")] = "createdTime", way: WayQuery = None
) -> EntityOrder:
    """By name or type from A on, by time from the newest on, if it is not said."""
    if by == "createdTime":
        return EntityOrder.OLDEST if way == "ASC" else EntityOrder.NEWEST
    if by in _BY_TYPE:
        return EntityOrder.PROFILE_DOWN if way == "DESC" else EntityOrder.PROFILE
    return EntityOrder.NAME_DOWN if way == "DESC" else EntityOrder.NAME


def _order_by_time(
    by: Annotated[Literal["createdTime"], Query(alias="sortProperty")] = "createdTime",
    way: WayQuery = None,
) -> EntityOrder:
    return EntityOrder.OLDEST if way == "ASC" else EntityOrder.NEWEST


OrderQuery = Annotated[EntityOrder, Depends(_order)]
OrderByTimeQuery = Annotated[EntityOrder, Depends(_order_by_time)]


def _page(order: OrderQuery, size: SizeQuery, number: NumberQuery, text: TextQuery = "") -> Page:
    return Page(size, number, text, order)


def _page_by_time(
    order: OrderByTimeQuery, size: SizeQuery, number: NumberQuery, text: TextQuery = ""
) -> Page:
    return Page(size, number, text, order)


PageQuery = Annotated[Page, Depends(_page)]
PageByTimeQuery = Annotated[Page, Depends(_page_by_time)]
"""Of what is kept in the order of time."""


class Window(NamedTuple):
    """The part of a list kept newest first that a page shows; ``turned``: from its end."""

    skip: int
    limit: int
    turned: bool


def window(page: Page, total: int) -> Window:
    if page.order is not EntityOrder.OLDEST:
        return Window(page.skip, page.limit, False)
    end = max(0, total - page.skip)
    begin = max(0, end - page.limit)
    return Window(begin, end - begin, True)


def page_of(rows: Sequence[Any], total: int, page: Page) -> dict[str, Any]:
    """Raises ApiError when there are more than one answer holds."""
    if min(page.size, total - page.skip) > MOST_ROWS:
        raise bad_request(f"pageSize: there are {total}, and a page has at most {MOST_ROWS}")
    return {
        "data": list(rows),
        "totalPages": -(-total // page.size),
        "totalElements": total,
        "hasNext": page.skip + len(rows) < total,
    }


def entity_id(kind: str, id_: str) -> dict[str, str]:
    return {"entityType": kind, "id": id_}
