"""What the sync remembers of a log, as it has to be for the log that the site's records were
copied into. There the offsets are others, and so is the number of partitions."""

import json
from collections.abc import Iterable, Mapping

from edgeferry.core.record import Record
from edgeferry.core.store import Position
from edgeferry.sync.dropped import DropLedger
from edgeferry.sync.inbox import Checkpoint, Inbox, Received
from edgeferry.sync.intake import intake_position, intake_stream
from edgeferry.sync.resume import LogFacts, event_hash


def acknowledged(stored: Position | None, log: LogFacts, before: Record | None) -> int:
    """The first event of a sender's log that the receiver may not have.

    ``before``: the record below the remembered offset, None where the log holds none. All of
    the log when it is not the one that is remembered."""
    if stored is None or not log.start < stored.offset <= log.end:
        return log.start
    detail = json.loads(stored.detail)
    if detail["log_id"] != log.log_id:
        return log.start
    if before is not None and detail["last"] not in ("", event_hash(before.value).hex()):
        return log.start
    return stored.offset


def moved_sender(stored: Position, log: LogFacts) -> Position:
    """A sender's memory for a log that begins with its first unacknowledged event.

    It goes on naming the old log, so that the next connection begins a new epoch at the new
    log's start. What was lost and not told yet is told then."""
    detail = json.loads(stored.detail)
    lost = _untold(stored, log)
    detail.update(last="", lost=lost)
    return Position(stored.epoch + bool(lost), 0, stored.incarnation, json.dumps(detail))


def moved_ledger(ledger: Position, sender: Position | None, log: LogFacts) -> Position:
    """A lane's count of dropped events: those that ``moved_sender`` has yet to tell of are
    counted when they are told."""
    total = DropLedger.unpack(ledger.detail).standing(log).total
    settled = max(0, total - (_untold(sender, log) if sender is not None else 0))
    return Position(0, settled, "", DropLedger(settled=settled).pack())


def _untold(stored: Position, log: LogFacts) -> int:
    detail = json.loads(stored.detail)
    if detail["log_id"] != log.log_id:
        return 0
    # a hash of the last event means: the receiver has acknowledged in this epoch, so knows
    begun = 0 if detail["last"] else int(detail["lost"])
    return begun + max(0, log.start - stored.offset)


async def moved_receiver(stream: str, edge_id: str, lane: str, received: Received) -> Position:
    """A received lane's position, as found now in the old log; nothing of the stream stands
    above it in a new log. Raises LogUnavailable, StoreUnavailable."""
    inbox = Inbox(lane=lane, edge_id=edge_id, stream=stream, received=received)
    position = await inbox.recover()
    return Checkpoint(position, {}, True, inbox.made, inbox.lost).pack()


def moved_intake(
    seen: Iterable[Mapping[bytes, tuple[int, int]]], topic: str, partitions: int
) -> dict[str, Position]:
    """The intake's memory of a received topic, by stream, for a new log of so many partitions.

    ``seen``: the memory of each old partition, of which either there is one, so that an edge's
    events stand in it in their order, or all are read to their ends. Then what was taken of an
    edge is below all that is still to come, whichever partition it comes to."""
    together: dict[bytes, tuple[int, int]] = {}
    for of_partition in seen:
        for edge, at in of_partition.items():
            together[edge] = max(at, together.get(edge, at))
    return {
        intake_stream(topic, partition): intake_position(0, together)
        for partition in range(partitions)
    }
