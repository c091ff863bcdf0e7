"""The gateway as a service: the MQTT listener and what all its connections share."""

import asyncio
import errno
import logging
import ssl

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.appender import Appender, AppendRules
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.device_api import DeviceApi
from edgeferry.gateway.gate import Gate
from edgeferry.gateway.mqtt.connection import Connection
from edgeferry.gateway.mqtt.flow import STOPPING
from edgeferry.gateway.mqtt.packets import Reason
from edgeferry.gateway.mqtt.shared import Parts, Sessions
from edgeferry.gateway.mqtt.wills import Wills
from edgeferry.gateway.records import Records
from edgeferry.gateway.secure import SecureListener
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
        secure: SecureListener | None = None,
        rules: AppendRules | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.context = context
        self.records = Records(context)
        self.gate = Gate(context)
        self.appender = Appender(
            writer=context.writer, clock=context.clock, metrics=context.metrics, rules=rules
        )
        self.api = DeviceApi(context, self.records, self.appender)
        self._wills = Wills(self.api, self.appender)
        self._host = host
        self._port = port
        self._tls = tls
        self._secure = secure
        self._secure_server: asyncio.Server | None = None
        self._secure_address = ""
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

    @property
    def secure_address(self) -> str:
        """host:port of the listener with TLS beside it, empty where there is none."""
        return self._secure_address

    async def start(self) -> None:
        """Raises InvalidSettings when the address cannot be used."""
        parts = Parts(
            context=self.context,
            records=self.records,
            appender=self.appender,
            gate=self.gate,
            sessions=self._sessions,
            bound=self._bound,
            api=self.api,
            wills=self._wills,
        )
        self._server = await _listen(parts, self._host, self._port, self._tls, "mqtt")
        self._address = _address(self._server)
        secure = self._secure
        if secure is not None:
            try:
                self._secure_server = await _listen(
                    parts, secure.host, secure.port, secure.context, "mqtt.tls"
                )
            except InvalidSettings:
                await self.stop()
                raise
            self._secure_address = _address(self._secure_server)
        self.appender.start()
        self.api.presence.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="gateway-sweep")
        log.info("MQTT listens on %s", self._address)

    async def stop(self) -> None:
        """Accept nobody, read nothing more, let pending appends finish for a few seconds, say
        goodbye, close. All sessions end with the process, so all their wills are published."""
        if self._server is None:
            return
        servers = [one for one in (self._server, self._secure_server) if one is not None]
        for server in servers:
            server.close()
        for connection in list(self._sessions.all):
            connection.hold(STOPPING)
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
            self._sweeper = None
        await self.api.stop()
        await self.api.presence.stop()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _DRAIN_SECONDS
        await self.appender.drained(_DRAIN_SECONDS)
        for connection in list(self._sessions.all):
            connection.end(Reason.SERVER_SHUTTING_DOWN, "the gateway is stopping")
        for ended in self._sessions.kept.end_all():
            self._wills.session_ended(ended)
        await self.appender.stop(max(0.0, deadline - loop.time()))
        deadline = loop.time() + _GOODBYE_SECONDS
        while self._sessions.all and loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._sessions.all):
            connection.abort()
        for server in servers:
            await server.wait_closed()
        self._server = self._secure_server = None
        self._address = self._secure_address = ""

    def health(self) -> Health:
        turning = self._sweeper is None or not self._sweeper.done()
        running = self._server is not None
        problems = [self.appender.failure and f"the log takes no appends: {self.appender.failure}"]
        problems += [self.context.devices.problem, self.api.presence.crashed]
        if not running:
            problems.append("not started")
        return Health(
            alive=turning and self.appender.alive and not self.api.presence.crashed,
            ready=running and not self.appender.failure,
            detail="; ".join(problem for problem in problems if problem),
        )

    async def check(self) -> None:
        """What is due every second: give up, end silent connections, follow changes of devices."""
        self.appender.check()
        self.gate.tidy()
        self.api.check()
        now = self.context.clock.monotonic()
        for will in self._sessions.kept.due(now):
            self._wills.publish(will)
        for ended in self._sessions.kept.expire(now):
            self._wills.session_ended(ended)
        for connection in list(self._sessions.all):
            connection.check(now)
        await self._check_devices()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            await self.check()

    async def _check_devices(self) -> None:
        devices = self.context.devices
        if await devices.refresh():
            for connection in list(self._sessions.all):
                connection.check_device()
        if devices.problem != self._devices_problem:
            self._devices_problem = devices.problem
            if devices.problem:
                log.error("changes of devices are looked up later: %s", devices.problem)


async def _listen(
    parts: Parts, host: str, port: int, tls: ssl.SSLContext | None, setting: str
) -> asyncio.Server:
    """Raises InvalidSettings."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(
            lambda: Connection(parts), host, port, ssl=tls, backlog=_BACKLOG
        )
    except OSError as error:
        raise InvalidSettings(_cannot_listen(error, f"{host}:{port}", setting)) from error


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"


def _cannot_listen(error: OSError, where: str, setting: str) -> str:
    wish = f"{setting}.port (EDGEFERRY_{setting.upper().replace('.', '__')}__PORT"
    if error.errno == errno.EADDRINUSE:
        return (
            f"MQTT cannot listen on {where}: the port is taken. Stop the program that uses it, "
            f"or choose another with {wish}; 0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return f"MQTT cannot listen on {where}: not allowed. Choose a port above 1023 with {wish})"
    return (
        f"MQTT cannot listen on {where}: {error}. Set {setting}.host to an address of this machine"
    )
