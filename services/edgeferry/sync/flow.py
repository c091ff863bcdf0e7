"""The two ends of a lane while a session lives: pure bookkeeping, no I/O."""

from collections import deque
from typing import NamedTuple

from edgeferry.core.errors import EdgeferryError
from edgeferry.sync.resume import LOST, Begin, Want


class ProtocolError(EdgeferryError):
    """The peer broke the rules of the link: the session ends, its programmer acts."""


class _Flight(NamedTuple):
    next_offset: int
    size: int
    last: bytes
    oldest_ms: int


class SendLane:
    """What is under way, what is acknowledged, and whether more may be sent.

    A lane sends when fewer than ``in_flight`` batches are under way and a full batch fits
    the receiver's window; one batch may always go while a window is open, or a record
    larger than the window would stand for ever.
    """

    def __init__(self, *, batch_bytes: int, in_flight: int) -> None:
        self._batch_bytes = batch_bytes
        self._limit = in_flight
        self._flights: deque[_Flight] = deque()
        self._flying = 0
        self._window = 0
        self.epoch = 0
        self.next_offset = 0
        self.acked = 0
        self.acked_hash = b""

    @property
    def in_flight(self) -> int:
        """Batches under way."""
        return len(self._flights)

    @property
    def open(self) -> bool:
        """Whether the receiver takes anything at all."""
        return self._window > 0

    def begin(self, begin: Begin, want: Want, window: int) -> None:
        self.epoch, self.next_offset, self.acked = begin.epoch, begin.offset, begin.offset
        continued = (want.epoch, want.offset, want.seen) == (
            begin.epoch, begin.offset, begin.offset,
        )  # fmt: skip
        self.acked_hash = want.last if continued else b""
        self._window = window

    def beginning_at(self, start: int) -> Begin:
        """For a log that was trimmed above all that is under way and acknowledged."""
        return Begin(self.epoch, start, start - self.acked, LOST)

    def skip(self, begin: Begin) -> None:
        """Go on where this begin says. Raises ProtocolError while a batch is under way."""
        if self._flights or self.acked != self.next_offset:
            raise ProtocolError(f"cannot skip to {begin.offset} with a batch under way")
        self.next_offset = self.acked = begin.offset
        self.acked_hash = b""

    def has_room(self) -> bool:
        if not self._window or len(self._flights) >= self._limit:
            return False
        return not self._flights or self._flying + self._batch_bytes <= self._window

    @property
    def oldest_ms(self) -> int | None:
        """Time of the oldest event under way."""
        return self._flights[0].oldest_ms if self._flights else None

    def sent(self, next_offset: int, size: int, last: bytes, oldest_ms: int) -> None:
        """A batch up to ``next_offset`` left; ``size`` in bytes, ``last`` its last hash."""
        self._flights.append(_Flight(next_offset, size, last, oldest_ms))
        self._flying += size
        self.next_offset = next_offset

    def ack(self, epoch: int, next_offset: int) -> None:
        """Everything below is durable there. Raises ProtocolError."""
        if epoch != self.epoch or not self.acked <= next_offset <= self.next_offset:
            raise ProtocolError(
                f"ack of epoch {epoch}, offset {next_offset}, when {self.acked} to "
                f"{self.next_offset} of epoch {self.epoch} were under way"
            )
        while self._flights and self._flights[0].next_offset <= next_offset:
            flight = self._flights.popleft()
            self._flying -= flight.size
            self.acked, self.acked_hash = flight.next_offset, flight.last

    def credit(self, window: int) -> None:
        self._window = window


class ReceiveLane:
    """The receiver's position: ``received`` is expected next, ``durable`` is stored.

    Everything from the epoch's beginning up to ``durable`` stands in the received log:
    batches are taken in unbroken order or not at all.
    """

    def __init__(self, position: Want) -> None:
        self.epoch, self.durable, self._seen, self.last = position
        self.received = self.durable
        self._most = 0
        self._waiting = 0

    @property
    def position(self) -> Want:
        return Want(self.epoch, self.durable, self._seen, self.last)

    def begin(self, begin: Begin) -> bool:
        """The sender's decision. Returns whether the position changed: then it must be
        durable before anything of the lane is appended. Raises ProtocolError."""
        if (begin.epoch, begin.offset) == (self.epoch, self.durable):
            return False
        skips = begin.epoch == self.epoch and begin.offset == self.durable + begin.lost
        if begin.epoch <= self.epoch and not skips:
            raise ProtocolError(
                f"cannot begin at epoch {begin.epoch}, offset {begin.offset}: "
                f"wanted is epoch {self.epoch}, offset {self.durable}"
            )
        self.epoch, self.durable, self.last = begin.epoch, begin.offset, b""
        self.received = self._seen = self.durable
        return True

    def skip(self, begin: Begin) -> None:
        """The sender's log was trimmed under a running session. Raises ProtocolError."""
        if begin.epoch != self.epoch or self.received != self.durable:
            raise ProtocolError(
                f"cannot skip to epoch {begin.epoch}, offset {begin.offset}: epoch {self.epoch}, "
                f"offsets {self.durable} to {self.received} are being stored"
            )
        self.begin(begin)

    def granted(self, window: int) -> None:
        """A window was told to the sender; batches sent before it may still use the last."""
        self._most = max(self._most, window)

    def take(self, epoch: int, from_offset: int, next_offset: int, size: int) -> None:
        """A batch came. Raises ProtocolError when it is not the next one or more is under
        way than was ever granted."""
        if epoch != self.epoch or from_offset != self.received or next_offset <= from_offset:
            raise ProtocolError(
                f"batch of epoch {epoch}, offsets {from_offset} to {next_offset}, when "
                f"epoch {self.epoch}, offset {self.received} was next"
            )
        if self._waiting and self._waiting + size > self._most:
            raise ProtocolError(
                f"{self._waiting + size} bytes under way where {self._most} were granted"
            )
        self.received = next_offset
        self._waiting += size

    def stored(self, next_offset: int, size: int, last: bytes) -> None:
        """Everything below ``next_offset`` is durable; ``size`` of it left the waiting."""
        self.durable = next_offset
        if next_offset >= self._seen:
            self._seen, self.last = next_offset, last
        self._waiting -= size
