"""The HTTP listener of a process: uvicorn inside the process's own event loop."""

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from edgeferry.core.errors import InvalidSettings, Stop
from edgeferry.runtime.background import BackgroundTask
from edgeferry.runtime.connection_bound import Bounds, ConnectionBound
from edgeferry.runtime.http_bounds import BoundedBodies, BoundedProtocol
from edgeferry.runtime.service import Health
from edgeferry.runtime.settings import HttpTlsSettings, ListenSettings

_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 1024


class CannotListen(Stop):
    """The address is taken or not ours; the text names it and its setting."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one client may use. ``stop_seconds``: what requests under way get at a stop."""

    body_bytes: int = 1_048_576
    connections: int = 10_000
    stop_seconds: float = 5.0


class HttpServer:
    """Serves ``app`` on ``listen`` (``runtime.service.Service``).

    option: the setting's name, for the error when the port is taken. tls: speak TLS, and nothing
    else. turned_away: called for each connection that was closed because there were too many."""

    def __init__(
        self,
        app: ASGIApp,
        listen: ListenSettings,
        *,
        option: str = "http",
        tls: ssl.SSLContext | None = None,
        limits: HttpLimits | None = None,
        turned_away: Callable[[], None] = lambda: None,
    ) -> None:
        self._listen = listen
        self._option = option
        self._tls = tls
        self._limits = limits or HttpLimits()
        self._turned_away = turned_away
        self._app = BoundedBodies(app, self._limits.body_bytes)
        self._server: _Server | None = None
        self._loop_task = BackgroundTask("http server")
        self.address = ("", 0)
        """Host and port listened on, once started."""

    @property
    def name(self) -> str:
        return self._option

    async def start(self) -> None:
        """Raises CannotListen."""
        listener = bind(self._listen, self._option)
        server = self._server = _Server(
            uvicorn.Config(
                self._app,
                http=self._protocol(),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(self._limits.stop_seconds)),
                backlog=_BACKLOG,
            )
        )
        self.address = listener.getsockname()[:2]
        await server.open(listener, self._tls)
        self._loop_task.start(server.main_loop())

    def _protocol(self) -> Any:
        """What uvicorn makes of each connection, as it would of a class. All of one address
        may be those of a proxy: there is no bound for it."""
        most = self._limits.connections
        bound = ConnectionBound(
            "HTTP",
            Bounds(most, most),
            monotonic=asyncio.get_running_loop().time,
            turned_away=self._turned_away,
        )
        return functools.partial(BoundedProtocol, bound)

    async def stop(self) -> None:
        """Take no new requests, let those under way end, cut them at ``stop_seconds``."""
        await self._loop_task.stop()
        server, self._server = self._server, None
        if server is not None:
            await server.close(self._limits.stop_seconds)

    def health(self) -> Health:
        crashed = self._loop_task.crashed
        return Health(not crashed, self._server is not None and not crashed, crashed)


def secure_context(tls: HttpTlsSettings) -> ssl.SSLContext | None:
    """None where no certificate is given. Raises InvalidSettings."""
    if tls.cert is None and tls.key is None:
        return None
    if tls.cert is None or tls.key is None:
        raise InvalidSettings("http.tls.cert and http.tls.key go together: set both, or none")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"HTTP over TLS: certificate {tls.cert} with key {tls.key} cannot be used: {error}. "
            "Set http.tls.cert and http.tls.key to PEM files that belong together"
        ) from error
    return context


def bind(listen: ListenSettings, option: str) -> socket.socket:
    """A socket bound to the address. Raises CannotListen."""
    host, port = listen.host, listen.port
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotListen(f"{host} is no address of this machine: set {option}.host") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotListen(_why(error, host, port, option)) from error
    return listener


def _why(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken: stop what listens there, or set another "
            f"{option}.port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not allowed: set {option}.port to 1024 or above"
    return f"cannot listen on {host}:{port}: {error.strerror}; set {option}.host and {option}.port"


class _Server(uvicorn.Server):
    """uvicorn's server without its signals, its own loop and its exits."""

    async def open(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        if not self.config.loaded:
            self.config.load()
        self.config.ssl = tls
        self.lifespan = self.config.lifespan_class(self.config)
        await self.on_tick(0)
        await self.startup(sockets=[listener])

    async def close(self, seconds: float) -> None:
        connections = self.server_state.connections
        for server in self.servers:
            server.close()
        for connection in list(connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (connections or self.server_state.tasks) and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for task in list(self.server_state.tasks):
            task.cancel()
        for connection in list(connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=1.0)
        for server in self.servers:
            await server.wait_closed()
