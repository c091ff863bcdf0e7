"""Drops what the intake has seen before: pure, one filter per partition."""

from collections.abc import Mapping

from edgeferry.sync.recovery import Origin

Seen = dict[bytes, tuple[int, int]]
"""Edge id to the greatest (epoch, offset) of its events."""


class EventFilter:
    """Lets an event pass once: when its (epoch, offset) is above the last of its edge.

    In a partition, an edge's events stand in the order of its log, repeated from some
    point after every crash of the receiver; a writer that was paused for long repeats
    them late. Both are below what was seen.

    What passed counts as seen only when it was ``delivered``; until then the same records
    may come again and get the same answers.
    """

    def __init__(self, seen: Mapping[bytes, tuple[int, int]], next_offset: int) -> None:
        """``next_offset``: of the partition; everything below it is in ``seen``."""
        self._done: Seen = dict(seen)
        self.next_offset = next_offset
        self._latest: Seen = dict(seen)
        self._ahead: list[tuple[int, bytes, tuple[int, int]]] = []

    @property
    def seen(self) -> Mapping[bytes, tuple[int, int]]:
        """Of everything below ``next_offset``."""
        return self._done

    def rewind(self, offset: int) -> None:
        """The next record is at ``offset`` of the partition: forget what passed from there
        on without being delivered."""
        if not self._ahead or self._ahead[-1][0] < offset:
            return
        self._ahead = [entry for entry in self._ahead if entry[0] < offset]
        self._latest = dict(self._done)
        for _, edge, at in self._ahead:
            self._latest[edge] = at

    def passes(self, offset: int, origin: Origin) -> bool:
        """Whether the record at ``offset`` of the partition is new."""
        edge, epoch, number = origin
        at = (epoch, number)
        last = self._latest.get(edge)
        if last is not None and at <= last:
            return False
        self._latest[edge] = at
        self._ahead.append((offset, edge, at))
        return True

    def delivered(self, offset: int) -> None:
        """Everything up to and including ``offset`` has taken effect."""
        self.next_offset = max(self.next_offset, offset + 1)
        kept = 0
        for kept, (at_offset, edge, at) in enumerate(self._ahead):  # noqa: B007
            if at_offset > offset:
                break
            self._done[edge] = at
        else:
            kept = len(self._ahead)
        del self._ahead[:kept]
