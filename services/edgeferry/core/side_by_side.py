"""Many small requests at once, but not too many."""

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import TypeVar

_IN_FLIGHT = 64

T = TypeVar("T")


async def side_by_side(requests: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order. The first error in that order is raised when all those in flight
    have ended: none goes on behind the back of whoever tries again."""
    results: list[T] = []
    waiting = iter(requests)
    while some := list(islice(waiting, _IN_FLIGHT)):
        ended = await asyncio.gather(*some, return_exceptions=True)
        for one in ended:
            if isinstance(one, BaseException):
                raise one
            results.append(one)
    return results
