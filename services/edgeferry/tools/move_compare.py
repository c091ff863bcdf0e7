"""What stands in two stores, compared row by row."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from edgeferry.core.errors import Stop

_COMPARED_AT_ONCE = 16


def must_equal(table: str, what: str, wanted: object, found: object) -> None:
    """Raises Stop that names the row."""
    if wanted != found or repr(wanted) != repr(found):  # 1, 1.0 and true are equal, too
        raise Stop(
            f"{table}: {what} is {found!r} in the target instead of {wanted!r}: empty the target, "
            "delete move.json from the data folder, and begin anew"
        )


async def compare_side_by_side(checks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Raises what the first of them raises."""
    slots = asyncio.Semaphore(_COMPARED_AT_ONCE)

    async def one(check: Coroutine[Any, Any, None]) -> None:
        async with slots:
            await check

    results = await asyncio.gather(*(one(check) for check in checks), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
