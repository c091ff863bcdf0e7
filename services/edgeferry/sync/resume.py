"""Where a lane goes on after a connection: a pure decision of the sender.

Position = (stream, epoch, offset), and the receiver's is the truth. The epoch changes
when the log is no longer the one that the receiver has followed (made anew, restored from
a backup) or when the receiver has lost its memory.
"""

import hashlib
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

LOST: Final = "the log no longer held them"

Reason = Literal[
    "first contact",
    "continued",
    "the log no longer held them",
    "the receiver lost its memory",
    "the log is not the one that the receiver has followed",
    "an epoch that the receiver had not begun",
]


class Offer(NamedTuple):
    """The sender's log: first offset held, offset of the next record. Epoch 0: none yet."""

    epoch: int
    start: int
    end: int


class Want(NamedTuple):
    """The receiver's position: the next offset it wants. Epoch 0: nothing ever received.

    ``seen`` is one above the greatest offset that it has of this epoch, and ``last`` the
    ``event_hash`` of that event (empty when it has none). After a crash events may stand
    above the position with others missing: in another log they would be other events.
    """

    epoch: int
    offset: int
    seen: int
    last: bytes = b""


class Begin(NamedTuple):
    """Where the sender goes on. ``lost``: events that are gone from the log and that the
    receiver lacks."""

    epoch: int
    offset: int
    lost: int
    reason: str


class SendMemory(NamedTuple):
    """What a sender keeps: ``acked`` is the next offset not acknowledged, ``peer`` the
    receiver's incarnation, ``log_id`` the log's own identity ('' where it has none),
    ``last`` the hash of the event before ``acked`` (empty when unknown). ``lost``: events
    that the receiver has been told of as lost, for as long as it may not have begun the epoch."""

    epoch: int
    acked: int
    peer: str = ""
    log_id: str = ""
    last: bytes = b""
    lost: int = 0

    def ack(self, begun_at: int, offset: int, last: bytes) -> "SendMemory":
        """``begun_at``: where the session, or what it skipped, began."""
        lost = 0 if offset > begun_at else self.lost
        return self._replace(acked=offset, last=last, lost=lost)

    def skip(self, begin: "Begin") -> "SendMemory":
        return self._replace(acked=begin.offset, last=b"", lost=self.lost + begin.lost)


class LogFacts(NamedTuple):
    """A log as it stands: the first offset held, the next one to come, its identity."""

    start: int
    end: int
    log_id: str = ""


def event_hash(value: bytes | None) -> bytes:
    """Tells events apart: every event's bytes hold its unique id."""
    return hashlib.blake2b(value or b"", digest_size=8).digest()


def offsets_to_check(memory: SendMemory | None, log: LogFacts, want: Want) -> set[int]:
    """Offsets whose hashes ``resume`` needs, of those that the log still holds."""
    wanted = {want.seen - 1}
    if memory is not None:
        wanted.add(memory.acked - 1)
    return {offset for offset in wanted if log.start <= offset < log.end}


def resume(
    memory: SendMemory | None,
    log: LogFacts,
    want: Want,
    peer: str,
    hashes: Mapping[int, bytes],
    *,
    first_epoch: int = 1,
    replays: bool = True,
) -> Begin:
    """Decide. ``peer`` is the receiver's incarnation now; ``hashes`` has ``event_hash`` of
    each offset of ``offsets_to_check``. A changed epoch must be durable at the sender
    before the Begin is told.

    ``first_epoch``: where neither side knows one. ``replays``: whether a receiver that lost
    its memory gets again what it had acknowledged."""
    same_log = memory is not None and _is_same_log(memory, log, hashes)
    acked = memory.acked if memory is not None and same_log else 0
    own_epoch = memory.epoch if memory is not None else 0
    newest = max(own_epoch, want.epoch)
    unreported = memory.lost if memory is not None and own_epoch > want.epoch else 0
    lost = max(0, log.start - acked) + unreported
    if newest == 0:
        return _begin(first_epoch, acked, log, lost, "first contact")
    follows = _follows(memory if same_log else None, log, want, hashes)
    if memory is not None and memory.peer and memory.peer != peer:
        # An older copy of the receiver lacks what it acknowledged after its position.
        lacks = min(acked, want.offset) if follows else acked
        again = log.start if replays else lacks
        return _begin(newest + 1, again, log, lost, "the receiver lost its memory")
    if own_epoch > want.epoch and same_log:
        # Begun here, never taken up there; what the receiver knows can only pull it back.
        offset = min(acked, want.offset) if follows else acked
        return _begin(own_epoch, offset, log, lost, "an epoch that the receiver had not begun")
    if own_epoch <= want.epoch and follows:
        lost = max(0, log.start - want.offset)
        return _begin(want.epoch, want.offset, log, lost, "continued")
    return _begin(
        newest + 1, acked, log, lost, "the log is not the one that the receiver has followed"
    )


def remembered(
    memory: SendMemory | None, want: Want, begin: Begin, peer: str, log_id: str
) -> SendMemory:
    """What a sender keeps before it tells ``begin``. Position and loss of an epoch that the
    receiver has not begun change together, or a loss would be told twice or never."""
    begun = memory is not None and want.epoch == begin.epoch == memory.epoch
    if begun and memory is not None and memory.peer == peer:
        return memory
    return SendMemory(begin.epoch, begin.offset, peer, log_id, lost=begin.lost)


def _begin(epoch: int, offset: int, log: LogFacts, lost: int, reason: Reason) -> Begin:
    if lost:
        reason = LOST
    return Begin(epoch, max(offset, log.start), lost, reason)


def _is_same_log(memory: SendMemory, log: LogFacts, hashes: Mapping[int, bytes]) -> bool:
    if memory.log_id and log.log_id and memory.log_id != log.log_id:
        return False
    if memory.acked > log.end:
        return False
    found = hashes.get(memory.acked - 1)
    return found is None or not memory.last or found == memory.last


def _follows(
    memory: SendMemory | None, log: LogFacts, want: Want, hashes: Mapping[int, bytes]
) -> bool:
    """Whether the receiver's position is one in this very log. ``memory`` is None when it
    is of another log, or there is none."""
    if want.epoch == 0 or want.seen > log.end:
        return False
    found = hashes.get(want.seen - 1)
    if found is not None and want.last:
        return found == want.last
    # The last event that it has is trimmed, or it has none of this epoch: then
    # only our own memory of the same epoch can vouch for the log.
    return memory is not None and memory.epoch == want.epoch
