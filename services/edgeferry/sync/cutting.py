"""Where to cut an outbox that is full: found by halving, without reading what goes."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from edgeferry.sync.caps import KEEP, Caps, Figures


class Cuttable(Protocol):
    """What of an outbox is asked for it. Calls raise LogUnavailable, OffsetOutOfRange."""

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]: ...

    async def appended_ms(self, offset: int) -> int | None: ...


async def cut_offset(outbox: Cuttable, caps: Caps, figures: Figures, now_ms: int) -> int:
    """The lowest offset from which on what waits is within a slice below every cap that is
    reached; ``figures.first`` when none is. Raises what the outbox raises."""
    below, end = figures.first, figures.end
    if caps.max_events and figures.depth >= caps.max_events:
        below = max(below, end - int(KEEP * caps.max_events))
    if caps.max_bytes and figures.bytes >= caps.max_bytes:
        below = max(below, await _by_bytes(outbox, figures, KEEP * caps.max_bytes))
    if caps.max_age_seconds and figures.age_seconds(now_ms) >= caps.max_age_seconds:
        oldest_ms = now_ms - KEEP * caps.max_age_seconds * 1000

        async def young(offset: int) -> bool:
            appended_ms = await outbox.appended_ms(offset)
            return appended_ms is None or appended_ms >= oldest_ms

        below = max(below, await _first(young, below, end))
    return below


async def _by_bytes(outbox: Cuttable, figures: Figures, allowed: float) -> int:
    if not figures.measured:
        return figures.end - int(figures.depth * allowed / figures.bytes)

    async def fits(offset: int) -> bool:
        return (await outbox.bytes_from(offset, figures.end))[0] <= allowed

    return await _first(fits, figures.first, figures.end)


async def _first(holds: Callable[[int], Awaitable[bool]], low: int, high: int) -> int:
    """The lowest offset that holds, if those above it do; ``high`` when none does."""
    while low < high:
        middle = (low + high) // 2
        if await holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
