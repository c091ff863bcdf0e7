"""The data folder of ``edgeferry up``: what it remembers, and who holds it."""

import contextlib
import fcntl
import os
import random
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from edgeferry.core.errors import InvalidSettings, Stop

LOOPBACK = "127.0.0.1"
_LAST_PORT = 32_000
_ANYWHERE = range(10_000, 15_000)
"""Where the search for any port begins; above are those of our servers."""
DEFAULT_PORTS: Mapping[str, int] = {
    "cloud-http": 8080,
    "cloud-mqtt": 1883,
    "sync": 7070,
    "edge-http": 8081,
    "edge-mqtt": 1884,
}
"""Option of ``up`` -> the port that it takes when it may."""


class DataFolderHeld(Stop):
    """Another ``edgeferry up`` runs on this folder."""


class PortTaken(Stop):
    """A port that was asked for is taken."""


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go of it however we end.

    Raises DataFolderHeld naming the holder."""
    data.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode().strip()
            raise DataFolderHeld(
                f"{data} is in use by another `edgeferry up` (process {holder}): stop that one "
                "or choose another folder with --data"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Remembered:
    """What a second start takes up again. ports: by option; edge_key: of the demonstration
    edge, empty before it was made."""

    ports: dict[str, int] = field(default_factory=dict)
    chains: dict[str, str] = field(default_factory=dict)
    edge_key: str = ""

    @staticmethod
    def read(data: Path) -> "Remembered":
        """Raises InvalidSettings when the file is broken."""
        path = _file(data)
        if not path.exists():
            return Remembered()
        try:
            return Remembered(**orjson.loads(path.read_bytes()))
        except (ValueError, TypeError) as error:
            raise InvalidSettings(
                f"{path} is broken ({error}): remove it, ports and chains are then chosen anew"
            ) from error

    def write(self, data: Path) -> None:
        write_whole(_file(data), orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


def _file(data: Path) -> Path:
    return data / "up.json"


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """The file is there with all of it, or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_ports(
    asked: Mapping[str, int | None], remembered: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """A port per option, and a line for each that is not the one people expect.

    A port that was asked for must be free; else the one of the last start, else the
    default, else a free one above it. 0 takes any free one, each start another: the ports
    are bound long after they were chosen, and two starts at once must not take the same.
    Raises PortTaken naming port and option."""
    chosen: dict[str, int] = {}
    anywhere = random.Random(os.urandom(8)).choice(_ANYWHERE)
    notes: list[str] = []
    for option, default in DEFAULT_PORTS.items():
        port = asked.get(option)
        usual = remembered.get(option, default)
        if port:
            if port in chosen.values() or not is_free(port):
                raise PortTaken(
                    f"port {port} is taken: stop what listens there or give another --{option}"
                )
        elif port is None and usual not in chosen.values() and is_free(usual):
            port = usual
        else:
            port = _next_free(default if port is None else anywhere, chosen)
            if asked.get(option) is None:
                notes.append(f"port {usual} is taken: {option} is on {port} instead")
        chosen[option] = port
    return chosen, notes


def _next_free(after: int, chosen: Mapping[str, int]) -> int:
    """Not one that the system hands out: an outgoing connection could hold that at the
    next start."""
    for port in range(after + 1, _LAST_PORT):
        if port not in chosen.values() and is_free(port):
            return port
    raise PortTaken(f"no free port between {after} and {_LAST_PORT}")
