"""Many small requests at once, but not too many."""

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import TypeVar

_IN_FLIGHT = 64

T = TypeVar("T")


async def side_by_side(requests: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order; the first error that comes is raised."""
    results: list[T] = []
    waiting = iter(requests)
    while some := list(islice(waiting, _IN_FLIGHT)):
        results += await asyncio.gather(*some)
    return results
