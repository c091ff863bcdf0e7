"""Where the Cloud finds that an edge's store is new, or has heard all of one again because its own
was: it sends down all that is the edge's, as `edgeferry edges sync` does.

An edge is known by the identity of its store, which it tells in each handshake. The one that all
has gone down to is kept per edge, so that a pass that was killed begins again. What the edge had
made before is waited for: it is not told to it again by itself, and its new store lacks it, too.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edgeferry.core.errors import Later, OffsetOutOfRange, Stop
from edgeferry.core.store import EdgeEventStore, EntityKey, Position, PositionStore
from edgeferry.log.port import PartitionLag, Topics
from edgeferry.runtime.background import BackgroundService
from edgeferry.sync.inbox import Inbox
from edgeferry.sync.lanes import GENERAL_DOWN
from edgeferry.sync.snapshots import Snapshots

_LOOK_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 300.0
"""For what is still on its way through the Cloud's chains: a node that stands still, as one whose
brake holds it, must not keep an edge without its entities."""

_LOOKED_BACK: Final = 100_000
"""Events that an edge has acknowledged, and that a store which is an older copy may lack."""
_READ_BYTES: Final = 1_000_000

log = logging.getLogger(__name__)

Readers = Mapping[str, Sequence[str]]
"""Group -> topics, of all who stand between what is received and the store."""


class Met(NamedTuple):
    """What a handshake tells. ``store``: the identity of the edge's; ``before``: the one that
    its lanes were last sent to, empty: none is known, and ``acked`` how far the general one;
    ``here``: that of the Cloud's own.
    ``end``: of the log of the general lane at the edge; ``lane`` None: it is not sent."""

    edge_id: str
    name: str
    store: str
    before: str
    acked: int
    here: str
    end: int
    lane: Inbox | None


class _Kept(NamedTuple):
    """``store``: of the edge, which all has gone down to; ``told``: the identity of ours, for
    which the edge has sent all up, and got all down."""

    store: str
    told: str = ""

    def pack(self) -> Position:
        return Position(0, 0, self.store, json.dumps({"told": self.told}))

    @staticmethod
    def unpack(stored: Position) -> "_Kept":
        return _Kept(stored.incarnation, **json.loads(stored.detail))


class _Settling:
    """Whether all that stood in this site's topics at some time has left its chains: each round
    is one hop, at least."""

    def __init__(self, hops: int) -> None:
        self._left = hops
        self._ends: dict[tuple[str, str, int], int] | None = None

    def over(self, lags: Mapping[str, Sequence[PartitionLag]]) -> bool:
        """``lags``: as they are now."""
        rows = {(group, one.topic, one.partition): one for group, of in lags.items() for one in of}
        if self._ends is not None:
            if any(_done(rows[at]) < end for at, end in self._ends.items() if at in rows):
                return False
            self._left -= 1
        self._ends = {at: row.end for at, row in rows.items()}
        return self._left <= 0


def _done(row: PartitionLag) -> int:
    return row.start if row.committed is None else row.committed


@dataclass(slots=True)
class _Edge:
    """``below``: what has to be settled before all goes down; ``begun``: monotonic, when that
    began to be waited for."""

    met: Met
    kept: _Kept
    below: int = 0
    settling: _Settling | None = None
    begun: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AllDownParts:
    snapshots: Snapshots
    positions: PositionStore
    queue: EdgeEventStore
    topics: Topics
    readers: Readers = field(default_factory=dict)


class AllDown(BackgroundService):
    """A Service of the process that has the sessions."""

    name = "all-down"

    def __init__(self, parts: AllDownParts) -> None:
        self._parts = parts
        self._edges: dict[str, _Edge] = {}
        super().__init__()

    def under_way(self, edge_id: str) -> bool:
        edge = self._edges.get(edge_id)
        return edge is not None and _wanted(edge) is not None

    async def meets(self, met: Met) -> None:
        """In each handshake, before the lanes down begin. Raises StoreUnavailable."""
        stored = await self._parts.positions.load(_place(met.edge_id))
        if stored is not None:
            kept = _Kept.unpack(stored)
        else:
            kept = _Kept(met.before or met.store)
            await self._parts.positions.save(_place(met.edge_id), kept.pack())
        self._edges[met.edge_id] = _Edge(met, kept)
        if met.store != kept.store:
            log.warning(
                "edge %s: its store is new, or older than it was: all that is assigned to it is "
                "sent to it again, once what it had made before is here", met.name,
            )  # fmt: skip

    async def run(self) -> None:
        while True:
            for edge in list(self._edges.values()):
                try:
                    await self._look(edge)
                except (Later, Stop, OffsetOutOfRange) as error:
                    log.debug("edge %s gets all later: %s", edge.met.name, error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """A step for each edge. Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        for edge in list(self._edges.values()):
            await self._look(edge)

    async def _look(self, edge: _Edge) -> None:
        below = _wanted(edge)
        if below is None:
            return
        met, asked = edge.met, _asks(edge)
        if met.lane is not None and met.lane.lane.durable < below:
            return
        if edge.settling is None or edge.below != below:
            edge.settling, edge.below = _Settling(len(self._parts.readers)), below
            edge.begun = self._parts.snapshots.clock.monotonic()
        if not await self._settled(edge, edge.settling):
            return
        keys = await self._parts.snapshots.keys_of(met.edge_id)
        keys += await self._parts.snapshots.deleted(await self._queued(met))
        await self._parts.snapshots.wish(keys, f"{met.store}/{met.here}", edge_id=met.edge_id)
        kept = _Kept(met.store, met.here if asked else edge.kept.told)
        await self._parts.positions.save(_place(met.edge_id), kept.pack())
        edge.kept, edge.settling = kept, None
        log.warning("edge %s: %d entities are on their way to it again", met.name, len(keys))

    async def _queued(self, met: Met) -> list[EntityKey]:
        """What the events are about that a new store gets, or that an older copy has, without
        knowing what came later: an edge that has deleted something itself is not told so."""
        queue, place = self._parts.queue, (met.edge_id, GENERAL_DOWN)
        start, end = await queue.ends(*place)
        seq, found = max(start, met.acked - _LOOKED_BACK), dict[EntityKey, None]()
        while seq < end and (some := await queue.read(*place, seq, _READ_BYTES)):
            found |= dict.fromkeys((one.entity_type, one.entity_id) for one in some)
            seq = some[-1].seq + 1
        return list(found)

    async def _settled(self, edge: _Edge, settling: _Settling) -> bool:
        for _ in range(len(self._parts.readers) + 1):
            if settling.over(await self._parts.topics.lags(self._parts.readers)):
                return True
            waited = self._parts.snapshots.clock.monotonic() - edge.begun
            if waited > _PATIENCE_SECONDS:
                log.warning(
                    "edge %s gets all that is assigned to it though the chains here are behind: "
                    "what of it they still hold it may lack until it changes again", edge.met.name,
                )  # fmt: skip
                return True
        return False


def _asks(edge: _Edge) -> bool:
    """Whether it has sent all up because our store was new, and did not get all down yet."""
    lane = edge.met.lane
    return lane is not None and lane.all_below is not None and edge.kept.told != edge.met.here


def _wanted(edge: _Edge) -> int | None:
    """Where the edge has to get all: what must have come up first. None: it has all."""
    lane, below = edge.met.lane, []
    if edge.met.store != edge.kept.store:
        below.append(edge.met.end)
    if lane is not None and lane.all_below is not None and _asks(edge):
        below.append(lane.all_below)
    return max(below, default=None)


def _place(edge_id: str) -> str:
    return f"exchange/edge/{edge_id}"
