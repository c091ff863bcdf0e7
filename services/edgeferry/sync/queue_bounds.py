"""What the Edge queue lets go: what is too old, and the oldest where an edge has too many rows.

An event that its Edge has is kept for look-up only. One that leaves before is a loss, which is
counted per edge and lane, and warned of in time. Where rows are short, what the Edge has goes
first, then telemetry, and attributes and commands last.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.core.store import EdgeEventStore, PositionStore, QueueHead
from edgeferry.sync.lanes import DOWN, TELEMETRY_DOWN

WARN_AT: Final = 0.8
"""Of the rows, by events that the Edge has not."""

_EVERY: Final = 2**62

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long an Edge may be away: ``seconds``, and ``rows`` of an edge, both lanes
    together."""

    seconds: int = 30 * 86_400
    rows: int = 10_000_000


class _Lane(NamedTuple):
    """``acked``: everything below is at the Edge, or gone."""

    lane: str
    start: int
    acked: int
    end: int

    @property
    def waits_from(self) -> int:
        return min(max(self.start, self.acked), self.end)


class QueueBounds:
    """``positions``: of the link, which say what each Edge has."""

    def __init__(
        self, *, store: EdgeEventStore, positions: PositionStore, retention: Retention
    ) -> None:
        self._store = store
        self._positions = positions
        self._retention = retention
        self._warned: set[str] = set()

    async def keep(self, now_ms: int) -> None:
        """Raises StoreUnavailable."""
        before = await self._edges()
        for edge_id, lanes in before.items():
            self._warn(edge_id, lanes)
            for lane, below in cuts(lanes, self._retention.rows).items():
                await self._store.drop(edge_id, lane, below)
        await self._store.expire(now_ms - self._retention.seconds * 1000, _EVERY)
        starts = {(id_, one.lane): one.start for id_, lanes in before.items() for one in lanes}
        for edge_id, lanes in (await self._edges()).items():
            for one in lanes:
                lost = one.start - max(starts.get((edge_id, one.lane), one.start), one.acked)
                if lost > 0:
                    log.error(
                        "edge %s, lane %s: %d events left the Edge queue that the Edge has not: "
                        "they are lost", edge_id, one.lane, lost,
                    )  # fmt: skip

    async def _edges(self) -> Mapping[str, list[_Lane]]:
        found: dict[str, list[_Lane]] = {}
        for head in await self._store.heads():
            if head.lane in DOWN:
                found.setdefault(head.edge_id, []).append(await self._lane(head))
        return found

    async def _lane(self, head: QueueHead) -> _Lane:
        position = await self._positions.load(stream_of(head.edge_id, head.lane))
        acked = position.offset if position is not None else 0
        return _Lane(head.lane, head.start, acked, head.end)

    def _warn(self, edge_id: str, lanes: list[_Lane]) -> None:
        waiting, rows = sum(lane.end - lane.waits_from for lane in lanes), self._retention.rows
        if waiting < WARN_AT * rows:
            self._warned.discard(edge_id)
        elif edge_id not in self._warned:
            self._warned.add(edge_id)
            log.warning(
                "edge %s: %d events wait in the Edge queue, which loses the oldest above %d: "
                "bring the Edge back, or unassign what it needs no more", edge_id, waiting, rows,
            )  # fmt: skip


def stream_of(edge_id: str, lane: str) -> str:
    """The name of the link's position in a lane down."""
    return f"down/{edge_id}/{lane}"


def cuts(lanes: list[_Lane], rows: int) -> Mapping[str, int]:
    """By lane the seq that it is to be cut below, so that ``rows`` are left of all."""
    over = sum(lane.end - lane.start for lane in lanes) - rows
    starts = {lane.lane: lane.start for lane in lanes}
    below: dict[str, int] = {}
    for lane, upto in _in_turn(lanes):
        if over <= 0:
            break
        gone = min(over, upto - starts[lane])
        if gone > 0:
            starts[lane] += gone
            below[lane] = starts[lane]
            over -= gone
    return below


def _in_turn(lanes: list[_Lane]) -> Iterator[tuple[str, int]]:
    """Telemetry before the rest; what the Edge has before all that it has not."""
    ordered = sorted(lanes, key=lambda lane: lane.lane != TELEMETRY_DOWN)
    for lane in ordered:
        yield lane.lane, lane.waits_from
    for lane in ordered:
        yield lane.lane, lane.end
