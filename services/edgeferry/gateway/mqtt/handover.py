"""Whether a client's own system has taken what was written to its connection: all that can be
known of a publish of QoS 0.

Bytes that were written wait in this process, then in our system until the other one has
acknowledged them (TCP). Where the system does not tell of the latter, leaving this process
has to do. That the client's program has read them nobody knows.
"""

import asyncio
import fcntl
import sys
import termios
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

MOST_WATCHED: Final = 1_000
_FIRST_SECONDS: Final = 0.002
_LONGEST_SECONDS: Final = 1.0
_HIDDEN_BYTES: Final = 64 * 1024
"""May wait below TLS unseen, while our system has something to send."""

Then = Callable[[], None]


class _Watched(NamedTuple):
    """end: how much had been written with it."""

    end: int
    taken: Then
    lost: Then


class Handover:
    """Of one connection. ``room`` is called when more may be watched after it was full."""

    def __init__(self, transport: asyncio.Transport, room: Then) -> None:
        self._transport = transport
        self._room = room
        self._written = 0
        self._watched: deque[_Watched] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._pause = _FIRST_SECONDS
        self._was_full = False
        self._stopped = False

    @property
    def full(self) -> bool:
        """So much is not taken yet that nothing more should be sent to be watched."""
        return len(self._watched) >= MOST_WATCHED

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    def watch(self, taken: Then, lost: Then) -> None:
        """Of what was written last one of the two is called, later: the client's system has
        it, or the connection ended before that was known."""
        if self._stopped:
            lost()
            return
        self._watched.append(_Watched(self._written, taken, lost))
        self._was_full = self._was_full or self.full
        if self._timer is None:
            self._pause = _FIRST_SECONDS
            self._look_later()

    def look(self) -> None:
        """While the connection stands."""
        if not self._watched or self._stopped:
            return
        taken = self._written - _unacknowledged(self._transport)
        while self._watched and self._watched[0].end <= taken:
            self._watched.popleft().taken()
        if self._was_full and 2 * len(self._watched) < MOST_WATCHED:
            self._was_full = False
            self._room()

    def stop(self) -> None:
        """The connection has ended."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._watched:
            self._watched.popleft().lost()

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._tick)

    def _tick(self) -> None:
        self._timer = None
        before = len(self._watched)
        self.look()
        if self._watched and not self._stopped:
            progress = len(self._watched) < before
            self._pause = _FIRST_SECONDS if progress else min(2 * self._pause, _LONGEST_SECONDS)
            self._look_later()


def _unacknowledged(transport: asyncio.Transport) -> int:
    """Bytes, here and in our system."""
    here, system = transport.get_write_buffer_size(), _in_system(transport)
    hidden = system and transport.get_extra_info("ssl_object") is not None
    return here + system + (_HIDDEN_BYTES if hidden else 0)


def _in_system(transport: asyncio.Transport) -> int:
    raw: Any = transport.get_extra_info("socket")
    try:
        found = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):
        return 0
    return int.from_bytes(found, sys.byteorder, signed=True)
