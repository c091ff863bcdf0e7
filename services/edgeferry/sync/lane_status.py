"""How far a lane is, as each end tells it: the proof of completeness."""

from dataclasses import dataclass

from edgeferry.sync.inbox import Inbox


@dataclass(frozen=True, slots=True)
class ReceivedLane:
    """``made``: the end of the sender's log as last told; everything below ``received`` has
    come, everything below ``acked`` is durable here. ``lost``: gone before it could come."""

    lane: str
    epoch: int
    made: int
    received: int
    acked: int
    lost: int


@dataclass(frozen=True, slots=True)
class SentLane:
    """Of a lane down. ``made``: the end of the edge's queue; everything below ``sent`` has left,
    everything below ``acked`` is durable at the Edge. ``depth``: events not acknowledged."""

    lane: str
    epoch: int
    made: int
    sent: int
    acked: int
    depth: int
    oldest_age_ms: int | None
    lost: int


def received_lane(inbox: Inbox) -> ReceivedLane:
    """Of a lane in session, or one that was."""
    lane = inbox.lane
    made = max(inbox.made, lane.received)
    return ReceivedLane(inbox.name, lane.epoch, made, lane.received, lane.durable, inbox.lost)
