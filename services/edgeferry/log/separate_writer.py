"""A writer of one's own on a log that many share."""

import asyncio
from collections.abc import Sequence

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import LogWriter, Outgoing


class SeparateWriter:
    """``log.port.ClosableWriter``: nothing of it is under way after ``stop``."""

    def __init__(self, shared: LogWriter) -> None:
        self._shared = shared
        self._under_way: set[asyncio.Future[None]] = set()
        self._closing = False

    @property
    def max_record_bytes(self) -> int:
        return self._shared.max_record_bytes

    async def append(self, records: Sequence[Outgoing]) -> None:
        """See ``LogWriter.append``."""
        if self._closing:
            raise LogUnavailable("the log is closing")
        append = asyncio.ensure_future(self._shared.append(records))
        self._under_way.add(append)
        append.add_done_callback(self._under_way.discard)
        await asyncio.shield(append)  # a caller that gives up must not hide it from ``stop``

    async def stop(self) -> None:
        """Appends that come later are refused."""
        self._closing = True
        if self._under_way:
            await asyncio.wait(self._under_way)
