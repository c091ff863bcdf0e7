"""How far a lane is, as each end tells it: the proof of completeness."""

from dataclasses import dataclass

from edgeferry.sync.inbox import Inbox


@dataclass(frozen=True, slots=True)
class ReceivedLane:
    """Of a lane up, or down as the Edge tells it. ``made``: the end of the sender's log as last
    told, everything below ``sent`` has left it; everything below ``received`` has come or is among
    the ``lost``, below ``acked`` is durable here, below ``applied`` handed on (None: not known).
    ``depth``: made and not acked; ``lost``: gone before it could come; ``rate``: received a
    second."""

    lane: str
    epoch: int
    made: int
    received: int
    acked: int
    lost: int
    sent: int | None = None
    applied: int | None = None
    depth: int = 0
    oldest_age_ms: int | None = None
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class SentLane:
    """Of a lane down. ``made``: the end of the edge's queue; everything below ``sent`` has left,
    everything below ``acked`` is durable at the Edge, below ``applied`` handed on there, as it
    told last (None: not known). ``received``: what is known of it, that it is durable.
    ``depth``: events not acknowledged; ``rate``: acked a second."""

    lane: str
    epoch: int
    made: int
    sent: int
    acked: int
    depth: int
    oldest_age_ms: int | None
    lost: int
    received: int
    applied: int | None = None
    rate: float = 0.0


def received_lane(inbox: Inbox, rate: float = 0.0) -> ReceivedLane:
    """Of a lane in session, or one that was."""
    lane = inbox.lane
    made = max(inbox.made, lane.received)
    depth = made - lane.durable
    return ReceivedLane(
        lane=inbox.name,
        epoch=lane.epoch,
        made=made,
        received=lane.received,
        acked=lane.durable,
        lost=inbox.lost,
        sent=max(inbox.sent, lane.received),
        applied=inbox.handed.within(lane.epoch),
        depth=depth,
        oldest_age_ms=inbox.oldest_age_ms if depth else None,
        rate=rate,
    )
