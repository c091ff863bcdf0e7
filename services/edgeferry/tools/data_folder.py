"""A data folder: who holds it, what ``edgeferry up`` remembers there, which ports it takes."""

import contextlib
import errno
import os
import random
import socket
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import orjson

from edgeferry.core.errors import InvalidSettings, Stop
from edgeferry.files.lock import FileHeld, FileLock
from edgeferry.files.whole import write_whole

T = TypeVar("T")

LOOPBACK = "127.0.0.1"
_LAST_PORT = 32_000
_ANYWHERE = range(10_000, 15_000)
"""Where the search for any port begins; above are those of our servers."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
DEFAULT_PORTS: Mapping[str, int] = {
    "cloud-http": 8080,
    "cloud-mqtt": 1883,
    "sync": 7070,
    "edge-http": 8081,
    "edge-mqtt": 1884,
}
"""Option of ``up`` -> the port that it takes when it may."""


class DataFolderHeld(Stop):
    """Another Edgeferry runs on this folder."""


class DataFolderUnusable(Stop):
    """The folder cannot be written."""


class PortTaken(Stop):
    """A port that was asked for is taken."""


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the folder, made when missing, for this process; the kernel lets go of it however
    we end.

    Raises DataFolderHeld naming the holder, DataFolderUnusable; the latter also for what the
    caller's writing in it comes to."""
    lock = FileLock(data / "lock")
    try:
        lock.acquire()
        yield
    except FileHeld as other:
        raise DataFolderHeld(
            f"{data} is in use by another Edgeferry (process {other.holder}): stop that one or "
            "choose another folder with --data"
        ) from None
    except OSError as error:
        if error.filename is None and error.errno not in _DISK_ERRORS:
            raise
        raise DataFolderUnusable(
            f"cannot work in {data} ({error.strerror or error}"
            f"{f': {error.filename}' if error.filename else ''}): make it writable, free space "
            "on its disk, or choose another folder with --data"
        ) from error
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a second ``up`` takes up again. ports: by option; chains: by role; password_set:
    both sites have the administrator's password that lies in the folder."""

    ports: Mapping[str, int] = field(default_factory=dict)
    chains: Mapping[str, str] = field(default_factory=dict)
    password_set: bool = False

    @staticmethod
    def read(data: Path) -> "Remembered":
        """Raises InvalidSettings when the file is broken."""
        path = _file(data)
        if not path.exists():
            return Remembered()
        try:
            parsed = orjson.loads(path.read_bytes())
            return Remembered(
                ports=_checked(parsed["ports"], _port),
                chains=_checked(parsed["chains"], _text),
                password_set=parsed.get("password_set") is True,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidSettings(
                f"{path} is broken ({error}): remove it, ports and chains are then chosen anew"
            ) from error

    def write(self, data: Path) -> None:
        write_whole(_file(data), orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


def _checked(given: Mapping[str, object], check: Callable[[object], T]) -> dict[str, T]:
    """Raises TypeError."""
    return {name: check(value) for name, value in given.items()}


def _port(value: object) -> int:
    if type(value) is int and 0 < value < 65_536:
        return value
    raise TypeError(f"{value!r} is no port")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise TypeError(f"{value!r} is no text")


def belongs_to_up(data: Path) -> bool:
    """Whether ``up`` was ever started here."""
    return _file(data).exists()


def _file(data: Path) -> Path:
    return data / "up.json"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def any_free_port(host: str, avoid: Container[int] = ()) -> int:
    """One to keep. Raises PortTaken."""
    begin = random.Random(os.urandom(8)).choice(_ANYWHERE)
    for port in range(begin, _LAST_PORT):
        if port not in avoid and is_free(port, host):
            return port
    raise PortTaken(f"no free port between {begin} and {_LAST_PORT} on {host}")


def choose_ports(
    asked: Mapping[str, int | None],
    remembered: Mapping[str, int],
    *,
    avoid: Container[int] = (),
) -> tuple[dict[str, int], list[str]]:
    """A port per option, and a line for each that is not the one people expect.

    A port that was asked for must be free; else the one of the last start, else the
    default, else a free one above it that nobody expects to be another's. 0 takes any free
    one, each start another. Ports are bound a while after they were chosen: ``avoid`` has
    those that were lost to others meanwhile. Raises PortTaken naming port and option."""
    chosen: dict[str, int] = {}
    anywhere = random.Random(os.urandom(8)).choice(_ANYWHERE)
    notes: list[str] = []

    def fit(port: int) -> bool:
        return port not in chosen.values() and port not in avoid and is_free(port)

    for option, default in DEFAULT_PORTS.items():
        port = asked.get(option)
        usual = remembered.get(option, default)
        if port:
            if not fit(port):
                raise PortTaken(
                    f"port {port} is taken: stop what listens there or give another --{option}"
                )
        elif port is None and fit(usual):
            port = usual
        else:
            above = default if port is None else anywhere
            expected = {*DEFAULT_PORTS.values(), *remembered.values()}
            # not one that the system hands out: an outgoing connection could hold that at
            # the next start
            free = (each for each in range(above + 1, _LAST_PORT) if each not in expected)
            port = next(filter(fit, free), 0)
            if not port:
                raise PortTaken(f"no free port between {above} and {_LAST_PORT} for --{option}")
            if asked.get(option) is None:
                notes.append(
                    f"port {usual} is taken: {option} is on {port} instead (--{option} chooses)"
                )
        chosen[option] = port
    return chosen, notes


def lost_ports(chosen: Mapping[str, int], asked: Mapping[str, int | None]) -> set[int]:
    """Those that somebody else has taken since they were chosen; nobody of ours may listen.

    Raises PortTaken for one that was asked for."""
    lost = {option: port for option, port in chosen.items() if not is_free(port)}
    for option, port in lost.items():
        if asked.get(option):
            raise PortTaken(
                f"port {port} is taken: stop what listens there or give another --{option}"
            )
    return set(lost.values())
