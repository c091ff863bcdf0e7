"""The bytes of a log that keeps no count: reckoned from samples of its records."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from edgeferry.core.record import Record

_SAMPLE_BYTES = 65_536
_SAMPLES = 32
_FIRST_SAMPLES = 8
_FEW = 200
"""So few records are read whole."""

ReadAt = Callable[[int, int], Awaitable[Sequence[Record]]]
"""Records from an offset on, up to so many bytes."""


def record_bytes(record: Record) -> int:
    """Of key, value and headers."""
    headers = sum(len(name) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


class SampledBytes:
    """The mean of the last samples, each read at a random place of what is asked about."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._means: deque[float] = deque(maxlen=_SAMPLES)

    async def between(self, offset: int, end: int, read: ReadAt) -> tuple[int, bool]:
        """Bytes of the records from ``offset`` up to ``end``, and whether they were counted.

        Raises what ``read`` raises."""
        count = end - offset
        if count <= 0:
            return 0, True
        if count <= _FEW:
            whole = await read(offset, _SAMPLE_BYTES)
            if len(whole) >= count:
                return sum(map(record_bytes, whole[:count])), True
        for _ in range(1 if self._means else _FIRST_SAMPLES):
            records = await read(offset + int(self._random() * count), _SAMPLE_BYTES)
            if records:
                # A mean of means: a sample of large records has fewer of them, not less weight.
                self._means.append(sum(map(record_bytes, records)) / len(records))
        mean = sum(self._means) / len(self._means) if self._means else 0.0
        return round(mean * count), False
