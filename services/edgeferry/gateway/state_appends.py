"""States of commands on their way to the log: what it did not take is put again, in order."""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from edgeferry.core.errors import EdgeferryError, Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender, weight

_MOST_LEFT: Final = 100_000

log = logging.getLogger(__name__)
Done = Callable[[], None]


class StateAppends:
    def __init__(self, appender: Appender) -> None:
        self._appender = appender
        self._left: deque[tuple[list[Outgoing], Done]] = deque()

    def __len__(self) -> int:
        """So many are to be put again."""
        return len(self._left)

    def put(self, records: list[Outgoing], done: Done) -> None:
        """``done`` is called when they are durable (or can never be)."""
        if self._left:
            self._keep(records, done)
        else:
            self._put(records, done)

    def check(self) -> None:
        """To be called every second or so."""
        if self._left and self._appender.available:
            left, self._left = self._left, deque()
            for records, done in left:
                self._put(records, done)

    def _put(self, records: list[Outgoing], done: Done) -> None:
        def settle(error: EdgeferryError | None) -> None:
            if error is None:
                done()
            elif isinstance(error, Later):
                self._keep(records, done)
            else:
                log.error("the log refuses the state of a command for good: %s", error)
                done()

        size = weight(sum(len(record.value) for record in records), len(records))
        self._appender.put(records, size, settle)

    def _keep(self, records: list[Outgoing], done: Done) -> None:
        if len(self._left) >= _MOST_LEFT:
            log.error("too many states of commands wait for the log: one is lost")
            done()
            return
        if not self._left:
            log.warning("states of commands are not in the log: they are put again")
        self._left.append((records, done))
