"""The loopback ports of a server: chosen once, then kept in its folder."""

import json
import os
import random
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from edgeferry.tools.supervise import StartFailed

LOOPBACK = "127.0.0.1"

_FIRST, _LAST = 15_000, 29_999
"""Below the range from which the system gives ports to outgoing connections: a client that
reconnects to a stopped server can never be given the server's own port."""

_TRIES = 200


class PortTaken(StartFailed):
    """Another program listens on a port that this folder's server used before."""


def read_ports(file: Path) -> dict[str, int] | None:
    """The ports kept in ``file``, by name; None when none were chosen yet."""
    if not file.exists():
        return None
    return {name: int(port) for name, port in json.loads(file.read_text()).items()}


def free_ports(file: Path, names: Sequence[str]) -> dict[str, int]:
    """The ports kept in ``file``, by name, all free now; chosen when there are none yet.

    Raises PortTaken.
    """
    ports = read_ports(file)
    if ports is None:
        ports = _choose(names)
        written = file.with_suffix(".new")
        written.write_text(json.dumps(ports) + "\n")
        written.rename(file)
        return ports
    for port in ports.values():
        try:
            _bound(port).close()
        except OSError as error:
            raise PortTaken(
                f"port {port} on {LOOPBACK} is taken by another program ({error.strerror}). "
                f"Stop that program, or delete {file} so that other ports are chosen."
            ) from error
    return ports


def _choose(names: Sequence[str]) -> dict[str, int]:
    ports: dict[str, int] = {}
    source = random.Random(os.urandom(8))
    with ExitStack() as held:
        for _ in range(_TRIES):
            if len(ports) == len(names):
                return ports
            port = source.randint(_FIRST, _LAST)
            try:
                held.enter_context(_bound(port))
            except OSError:
                continue
            ports[names[len(ports)]] = port
    raise PortTaken(f"no free port found between {_FIRST} and {_LAST} on {LOOPBACK}")


def _bound(port: int) -> socket.socket:
    """Bound as the servers bind: a connection that just ended does not hold its port."""
    bound = socket.socket()
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((LOOPBACK, port))
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound
