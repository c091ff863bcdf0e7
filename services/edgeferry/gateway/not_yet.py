"""A publish of a device that something has to be waited for first."""

from collections.abc import Awaitable, Callable

from edgeferry.core.record import Outgoing


class NotYet(Exception):
    """``records`` waits, and gives what has to be durable before the acknowledgement. It raises
    Later. Nothing more is read from the connection meanwhile."""

    def __init__(self, records: Callable[[], Awaitable[list[Outgoing]]]) -> None:
        super().__init__()
        self.records = records
