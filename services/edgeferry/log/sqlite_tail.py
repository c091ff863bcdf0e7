"""The newest records of each partition in memory: hops read them without touching the file."""

from bisect import bisect_right
from collections.abc import Sequence

from edgeferry.core.record import Record
from edgeferry.log.sqlite_state import At
from edgeferry.log.sqlite_transaction import Appended

PARTITION_RECORDS = 5_000
SITE_BYTES = 16_000_000
RECORD_BYTES = 600
"""What Python takes for a record beside its bytes."""


class _Tail:
    """Records from ``first`` on without gap; ``totals`` as in the file."""

    __slots__ = ("before", "first", "records", "totals")

    def __init__(self, first: int, before: int) -> None:
        self.first = first
        self.before = before
        self.records: list[Record] = []
        self.totals: list[int] = []

    @property
    def end(self) -> int:
        return self.first + len(self.records)

    @property
    def cost(self) -> int:
        if not self.totals:
            return 0
        return self.totals[-1] - self.before + RECORD_BYTES * len(self.records)

    def forget(self, count: int) -> None:
        if count > 0:
            self.before = self.totals[count - 1]
            self.first += count
            del self.records[:count]
            del self.totals[:count]


class TailCache:
    """Bounded by records per partition and by bytes in all; used in the event loop alone."""

    def __init__(self) -> None:
        self._tails: dict[At, _Tail] = {}
        self._cost = 0

    def add(self, at: At, appended: Appended) -> None:
        """Records that just became durable."""
        before, records, totals = appended
        first = records[0].offset
        tail = self._tails.get(at)
        if tail is None or tail.end != first:
            self.drop(at)
            tail = self._tails[at] = _Tail(first, before)
        cost = tail.cost
        tail.records += records
        tail.totals += totals
        tail.forget(len(tail.records) - PARTITION_RECORDS)
        self._cost += tail.cost - cost
        while self._cost > SITE_BYTES:
            self._halve()

    def get(self, at: At, offset: int, max_records: int, max_bytes: int) -> Sequence[Record]:
        """As far as they are held; the first one comes also when it is larger alone."""
        tail = self._tails.get(at)
        if tail is None or not tail.first <= offset < tail.end:
            return ()
        begin = offset - tail.first
        before = tail.totals[begin - 1] if begin else tail.before
        end = bisect_right(tail.totals, before + max_bytes, begin)
        return tail.records[begin : min(max(end, begin + 1), begin + max_records)]

    def drop(self, at: At) -> None:
        tail = self._tails.pop(at, None)
        if tail is not None:
            self._cost -= tail.cost

    def clear(self) -> None:
        self._tails.clear()
        self._cost = 0

    def _halve(self) -> None:
        """Of the partition that holds most."""
        tail = max(self._tails.values(), key=lambda tail: tail.cost)
        self._cost -= tail.cost
        tail.forget((len(tail.records) + 1) // 2)
        self._cost += tail.cost
