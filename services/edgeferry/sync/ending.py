"""How a session ends, and the stream that it ends on."""

import logging
from typing import Protocol

from edgeferry.core.errors import (
    EdgeferryError,
    LogUnavailable,
    OffsetOutOfRange,
    StoreUnavailable,
)
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.sync_pb2 import Frame, Goodbye

log = logging.getLogger(__name__)


class Stream(Protocol):
    """The frames of one connection."""

    async def read(self) -> Frame | None:
        """None at the end of the stream. Raises SessionEnded when it breaks."""
        ...

    async def write(self, frame: Frame) -> None:
        """Raises SessionEnded when it breaks."""
        ...


class SessionEnded(EdgeferryError):
    """A session is over. ``retry`` False: useless until a person has changed something."""

    def __init__(
        self, reason: "Goodbye.Reason.ValueType", text: str, *, retry: bool = True
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.retry = retry

    def goodbye(self) -> Frame:
        return Frame(goodbye=Goodbye(reason=self.reason, text=self.text, retry=self.retry))


async def expect(stream: Stream, kind: str) -> Frame:
    """The next frame of a handshake, which must be a ``kind``.

    Raises ProtocolError, SessionEnded."""
    frame = await stream.read()
    if frame is None:
        raise peer_closed()
    came = frame.WhichOneof("kind")
    if came == "goodbye":
        raise said_goodbye(frame.goodbye)
    if came != kind:
        raise ProtocolError(f"a frame of {came or 'nothing'} where {kind} was due")
    return frame


def peer_closed() -> SessionEnded:
    return SessionEnded(Goodbye.UNSPECIFIED, "the peer closed the connection")


def silent_peer(seconds: float) -> SessionEnded:
    return SessionEnded(Goodbye.UNSPECIFIED, f"nothing came from the peer for {seconds:.0f} s")


def said_goodbye(goodbye: Goodbye) -> SessionEnded:
    return SessionEnded(goodbye.reason, goodbye.text, retry=goodbye.retry)


def as_ended(error: BaseException) -> SessionEnded:
    """What an error of this side's means for the session."""
    if isinstance(error, SessionEnded):
        return error
    if isinstance(error, ProtocolError):
        return SessionEnded(Goodbye.BAD_FRAME, str(error))
    if isinstance(error, LogUnavailable):
        return SessionEnded(Goodbye.LOG_UNAVAILABLE, str(error))
    if isinstance(error, OffsetOutOfRange):
        return SessionEnded(Goodbye.UNSPECIFIED, f"the log was trimmed under the lane: {error}")
    if isinstance(error, StoreUnavailable):
        return SessionEnded(Goodbye.STORE_UNAVAILABLE, str(error))
    log.error("a session ends by an error of ours", exc_info=error)
    return SessionEnded(Goodbye.INTERNAL, f"{type(error).__name__}: {error}")
