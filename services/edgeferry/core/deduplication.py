"""Which message is an originator's first within an interval of time."""

from typing import Final

INTERVAL_MAX_SECONDS: Final = 86_400
BUCKETS_MAX: Final = 100
WINDOW_MAX_SECONDS: Final = 2 * 86_400
ORIGINATORS_MAX: Final = 200_000


class Buckets:
    """Remembers who was seen in which bucket, floor(ts / interval).

    What ``is_first`` has let pass counts only after ``keep``, so that work which failed
    in between is first again. Memory is bounded: the buckets that were used longest ago
    go, beyond BUCKETS_MAX, two days or ORIGINATORS_MAX entries in all; what falls into
    one of them later counts as first again.
    """

    def __init__(self, interval_seconds: int) -> None:
        self._interval_ms = interval_seconds * 1000
        self._limit = max(1, min(BUCKETS_MAX, WINDOW_MAX_SECONDS // interval_seconds))
        self._kept: dict[int, set[str]] = {}  # in the order of their last use
        self._size = 0
        self._unkept: set[tuple[int, str]] = set()

    def is_first(self, originator: str, ts: int) -> bool:
        """``ts`` in ms."""
        bucket = ts // self._interval_ms
        seen = self._kept.get(bucket)
        if seen is not None:
            self._kept[bucket] = self._kept.pop(bucket)
            if originator in seen:
                return False
        entry = (bucket, originator)
        if entry in self._unkept:
            return False
        self._unkept.add(entry)
        return True

    def keep(self) -> None:
        for bucket, originator in self._unkept:
            self._kept.setdefault(bucket, set()).add(originator)
        self._size += len(self._unkept)
        self._unkept.clear()
        while len(self._kept) > self._limit or (
            self._size > ORIGINATORS_MAX and len(self._kept) > 1
        ):
            oldest = next(iter(self._kept))
            self._size -= len(self._kept.pop(oldest))

    def forget_unkept(self) -> None:
        self._unkept.clear()
