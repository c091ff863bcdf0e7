"""The gateway as a service: the MQTT listener and what all its connections share."""

import asyncio
import errno
import logging
import ssl

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.appender import Appender, AppendRules
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.gate import Gate
from edgeferry.gateway.mqtt.connection import Connection, Parts, Sessions
from edgeferry.gateway.mqtt.packets import Reason
from edgeferry.gateway.records import Records
from edgeferry.runtime.connection_bound import Bounds, ConnectionBound
from edgeferry.runtime.service import Health

_SWEEP_SECONDS = 1.0
_DRAIN_SECONDS = 5.0
_GOODBYE_SECONDS = 2.0
_BACKLOG = 1024
_CONNECTIONS = 10_000

log = logging.getLogger(__name__)


class Gateway:
    """Listens for devices on MQTT; ``http_routes`` serves the same devices over HTTP.

    Needs a started writer. Port 0 takes a free one; ``address`` tells which.
    """

    def __init__(
        self,
        context: GatewayContext,
        *,
        host: str = "127.0.0.1",
        port: int = 1883,
        tls: ssl.SSLContext | None = None,
        rules: AppendRules | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.context = context
        self.records = Records(context)
        self.gate = Gate(context)
        self.appender = Appender(
            writer=context.writer, clock=context.clock, metrics=context.metrics, rules=rules
        )
        self._host = host
        self._port = port
        self._tls = tls
        self._sessions = Sessions()
        self._bound = ConnectionBound(
            "MQTT",
            bounds or Bounds.of_logins(_CONNECTIONS),
            monotonic=context.clock.monotonic,
            turned_away=lambda: context.metrics.rejected("mqtt", "connections"),
        )
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._address = ""
        self._devices_problem = ""

    @property
    def name(self) -> str:
        return "gateway"

    @property
    def address(self) -> str:
        """host:port of the MQTT listener, empty before the start."""
        return self._address

    async def start(self) -> None:
        """Raises InvalidSettings when the devices file or the address cannot be used."""
        self.context.devices.load()
        parts = Parts(
            self.context, self.records, self.appender, self.gate, self._sessions, self._bound
        )
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(parts), self._host, self._port, ssl=self._tls, backlog=_BACKLOG
            )
        except OSError as error:
            raise InvalidSettings(self._cannot_listen(error)) from error
        host, port = self._server.sockets[0].getsockname()[:2]
        self._address = f"{host}:{port}"
        self.appender.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="gateway-sweep")
        log.info("MQTT listens on %s for %d devices", self._address, len(self.context.devices))

    async def stop(self) -> None:
        """Accept nobody, let pending appends finish for a few seconds, say goodbye, close."""
        if self._server is None:
            return
        self._server.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        await self.appender.stop(_DRAIN_SECONDS)
        for connection in list(self._sessions.all):
            connection.end(Reason.SERVER_SHUTTING_DOWN, "the gateway is stopping")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _GOODBYE_SECONDS
        while self._sessions.all and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._sessions.all):
            connection.abort()
        await self._server.wait_closed()
        self._server = None
        self._address = ""

    def health(self) -> Health:
        turning = self._sweeper is None or not self._sweeper.done()
        running = self._server is not None
        problems = [self.appender.failure and f"the log takes no appends: {self.appender.failure}"]
        problems.append(self.context.devices.problem)
        if not running:
            problems.append("not started")
        return Health(
            alive=turning and self.appender.alive,
            ready=running and not self.appender.failure,
            detail="; ".join(problem for problem in problems if problem),
        )

    async def check(self) -> None:
        """What is due every second: give up, end silent connections, follow the devices file."""
        self.appender.check()
        self.gate.tidy()
        now = self.context.clock.monotonic()
        for connection in list(self._sessions.all):
            connection.check(now)
        await self._check_devices()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.check()

    async def _check_devices(self) -> None:
        devices = self.context.devices
        if await asyncio.to_thread(devices.refresh):
            log.info("the devices file was read again: %d devices", len(devices))
            for connection in list(self._sessions.all):
                connection.check_device()
        if devices.problem != self._devices_problem:
            self._devices_problem = devices.problem
            if devices.problem:
                log.error("keeping the devices of before: %s", devices.problem)

    def _cannot_listen(self, error: OSError) -> str:
        where = f"{self._host}:{self._port}"
        if error.errno == errno.EADDRINUSE:
            return (
                f"MQTT cannot listen on {where}: the port is taken. Stop the program that uses it, "
                f"or choose another with mqtt.port (EDGEFERRY_MQTT__PORT; 0 takes a free one)"
            )
        if error.errno == errno.EACCES:
            return (
                f"MQTT cannot listen on {where}: not allowed. Choose a port above 1023 with "
                f"mqtt.port (EDGEFERRY_MQTT__PORT)"
            )
        return (
            f"MQTT cannot listen on {where}: {error}. Set mqtt.host to an address of this machine"
        )
