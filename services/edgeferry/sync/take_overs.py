"""Two Edges with one key, such as on copies of one data folder: each takes the other's place."""

import logging
from collections import defaultdict, deque

from edgeferry.core.clock import Clock

WINDOW_SECONDS = 600.0
ALIVE_SECONDS = 8.0
"""An Edge says more often that it is there. One that comes again by itself, after its connection
went without a word, had been silent for longer."""

_SUSPICIOUS = 2

log = logging.getLogger(__name__)


class TakeOvers:
    """Tells of connections that took the place of one that was alive. Once may be chance: an
    Edge that was restarted while its end of the connection stayed open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: defaultdict[str, deque[float]] = defaultdict(deque)

    def note(self, edge: str, before: str, after: str, silent_seconds: float) -> None:
        """``edge``: its name; ``before``, ``after``: from where the two come;
        ``silent_seconds``: since the first one was heard."""
        log.info(
            "edge %s: a connection from %s takes the place of that from %s", edge, after, before
        )
        if silent_seconds > ALIVE_SECONDS:
            return
        now, seen = self._clock.monotonic(), self._seen[edge]
        seen.append(now)
        while seen[0] < now - WINDOW_SECONDS:
            seen.popleft()
        if len(seen) >= _SUSPICIOUS:
            log.error(
                "edge %s: %d times within %d minutes a connection took the place of one that was "
                "alive, now from %s that from %s: two Edges run with its key, such as on copies of "
                "one data folder. Stop one of them; if both are wanted, enrol one in a new folder "
                "(`edgeferry edges add`)",
                edge, len(seen), WINDOW_SECONDS // 60, after, before,
            )  # fmt: skip
