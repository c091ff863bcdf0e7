"""A site's log for a tool that stands beside the running site."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgeferry.core.clock import SystemClock
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.runtime.settings import Settings


@asynccontextmanager
async def opened_log(settings: Settings, *, owner: bool = False) -> AsyncIterator[Log]:
    """``owner``: the site is not running, and topics may be made. Raises LogUnusable."""
    log = open_log(settings=settings.log, data=settings.data, clock=SystemClock(), owner=owner)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()
