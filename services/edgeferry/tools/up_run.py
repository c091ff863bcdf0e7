"""One run of a whole installation: what ``edgeferry up`` does between start and stop."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.core.clock import Clock
from edgeferry.core.errors import InvalidSettings, Later
from edgeferry.files.private import make_private
from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import Settings
from edgeferry.tools.chain_change import RootChain
from edgeferry.tools.data_folder import (
    LOOPBACK,
    Remembered,
    belongs_to_up,
    choose_ports,
    lost_ports,
)
from edgeferry.tools.demonstration import PASSWORD_VARIABLE, Demonstration, Plan, prepare
from edgeferry.tools.local_servers import FolderServers
from edgeferry.tools.opened import servers_must_answer
from edgeferry.tools.options import settings_path
from edgeferry.tools.output import print_json
from edgeferry.tools.shape import (
    Asked,
    Role,
    SiteShape,
    check_unchanged,
    kept_settings,
    shape_of,
)
from edgeferry.tools.supervise import ChildProcess, ChildSpec, Supervisor
from edgeferry.tools.up_show import print_ready

RUNNING_FILE = "running.json"
"""The ready line of now, with the process ids of now, while ``up`` runs."""

_ROLES: tuple[Role, Role] = ("cloud", "edge")
_SITE_START_SECONDS = 120.0
_LINK_SECONDS = 15.0
_LINK_POLL_SECONDS = 0.02
_ANSWER_SECONDS = 5.0
_LOST_PORTS = 10
"""When so many were lost, it is not by chance."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """ports and chains: None where the operator did not say."""

    data: Path
    asked: Mapping[Role, Asked]
    ports: Mapping[str, int | None]
    chains: Mapping[Role, str | None]
    devices: int
    as_json: bool


class Up:
    """See ``run``. One use each."""

    def __init__(self, options: UpOptions, clock: Clock) -> None:
        self._options = options
        self._data = options.data
        self._clock = clock
        self._supervisor = Supervisor(clock, _say, self._changed)
        self._servers = FolderServers(options.data, _say, clock)
        self._made: Demonstration | None = None

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises EdgeferryError when it cannot start, OSError when
        the folder cannot be written."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        running = self._data / RUNNING_FILE
        running.unlink(missing_ok=True)
        make_private(self._data / "logs")
        starting = asyncio.create_task(self._start())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((starting, stop), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await stop
        finally:
            starting.cancel()
            stop.cancel()
            await asyncio.gather(starting, stop, return_exceptions=True)
            if self._supervisor.pids:
                _say("stopping")
            await self._supervisor.stop()
            running.unlink(missing_ok=True)

    async def _start(self) -> None:
        remembered = Remembered.read(self._data)
        chains = self._root_chains(remembered)
        for chain in chains.values():
            chain.check()
        shapes = self._shapes()
        for shape in dict.fromkeys(shapes.values()):
            await servers_must_answer(shape)
        ports, notes = choose_ports(self._options.ports, remembered.ports)
        here = await self._servers.start(shapes.values(), self._supervisor)
        wanted: dict[str, str] = {role: chain.wanted for role, chain in chains.items()}
        plan = Plan(ports, wanted, shapes, here, self._options.devices)
        made = prepare(self._data, plan, self._clock)
        for settings in made.sites:
            if chains[settings.role].changed:
                await self._tell_unread(chains[settings.role], settings)
            if settings.log.kind == "kafka":
                await self._servers.apply_topics(settings)
        made = await self._start_sites(plan, made, notes)
        # from now on records stand in the topics of these chains
        kept = made.password_file is not None
        replace(Remembered.read(self._data), chains=wanted, password_set=kept).write(self._data)
        await self._until_linked(made.edge.http.port)
        self._made = made
        self._changed()
        self._tell(made)
        for settings in made.sites:
            if not chains[settings.role].changed:
                with contextlib.suppress(Later):  # it was only to be told
                    await self._tell_unread(chains[settings.role], settings)

    def _root_chains(self, remembered: Remembered) -> dict[Role, RootChain]:
        return {
            role: RootChain(
                role=role,
                before=remembered.chains.get(role),
                asked=_as_name_or_path(self._options.chains[role]),
                option=f"--chain-{role}",
            )
            for role in _ROLES
        }

    def _shapes(self) -> dict[Role, SiteShape]:
        """Raises ShapeChanged, InvalidSettings."""
        here = self._servers.addresses()
        shapes: dict[Role, SiteShape] = {}
        for role in _ROLES:
            kept = kept_settings(self._data, role)
            if kept is not None and not belongs_to_up(self._data):
                raise InvalidSettings(
                    f"{self._data} holds a site of `edgeferry {role}`: go on with that command, "
                    "or choose another folder with --data"
                )
            before = shape_of(kept, here) if kept is not None else None
            shapes[role] = self._options.asked[role].over(before or SiteShape())
            if before is not None:
                check_unchanged(self._data, role, before, shapes[role])
        return shapes

    async def _start_sites(
        self, plan: Plan, made: Demonstration, notes: Sequence[str]
    ) -> Demonstration:
        """On other ports where some were lost to others meanwhile. Raises StartFailed,
        PortTaken."""
        avoid: set[int] = set()
        while True:
            for note in notes:
                _say(note)
            self._remember_ports(plan.ports)
            made.write(self._data)
            _say("starting the Cloud and the Edge")
            sites = [self._site(settings, made) for settings in made.sites]
            failed = await self._supervisor.start_all(sites)
            if failed is None:
                return made
            lost = lost_ports(plan.ports, self._options.ports)
            avoid |= lost
            if not lost or len(avoid) > _LOST_PORTS:
                raise failed
            remembered = Remembered.read(self._data).ports
            ports, notes = choose_ports(self._options.ports, remembered, avoid=avoid)
            plan = replace(plan, ports=ports)
            made = prepare(self._data, plan, self._clock)

    def _remember_ports(self, ports: Mapping[str, int]) -> None:
        """One that only had to give way for now is taken again the next time."""
        before = Remembered.read(self._data)
        asked = self._options.ports
        kept = {
            option: port if asked.get(option) is not None else before.ports.get(option, port)
            for option, port in ports.items()
        }
        replace(before, ports=kept).write(self._data)

    async def _tell_unread(self, chain: RootChain, settings: Settings) -> None:
        """Raises ChainNotEmpty."""
        warning = await chain.unread(settings, settings_path(self._data, settings.role))
        if warning:
            _say(warning)

    async def _until_linked(self, edge_http: int) -> None:
        """The Edge is ready without the Cloud; here people expect the link to be up too."""
        deadline = self._clock.monotonic() + _LINK_SECONDS
        while await _not_linked(edge_http):
            if self._clock.monotonic() > deadline:
                _say("the Edge has not reached the Cloud yet; it goes on trying")
                return
            await asyncio.sleep(_LINK_POLL_SECONDS)

    def _site(self, settings: Settings, made: Demonstration) -> ChildProcess:
        ready = self._data / settings.role / "ready.json"
        return ChildProcess(
            ChildSpec(
                name=settings.role,
                argv=(
                    *(sys.executable, "-m", "edgeferry", "site"),
                    *("--settings", str(settings_path(self._data, settings.role))),
                    *("--ready-file", str(ready)),
                    *("--slot", "0"),
                ),
                log=self._data / "logs" / f"{settings.role}.log",
                ready_file=ready,
                env=self._password(settings, made),
                start_timeout=_SITE_START_SECONDS,
                stop_timeout=60.0,
            ),
            self._clock,
        )

    def _password(self, settings: Settings, made: Demonstration) -> dict[str, str]:
        """Given where the site may not have it: to compare it would take a tenth of a second,
        and would undo a change that was made by REST."""
        accounts = settings.data / "accounts.json"
        if made.password_file and accounts.exists() and Remembered.read(self._data).password_set:
            return {}
        return {PASSWORD_VARIABLE: made.password}

    def _line(self, made: Demonstration) -> dict[str, Any]:
        """The ready line (contracts, section 6)."""
        sites = made.sites
        kafka = [s.log.kafka.bootstrap for s in sites if s.log.kind == "kafka"]
        cassandra = [s.store.cassandra for s in sites if s.store.kind == "cassandra"]
        return {
            "ready": True,
            "cloud": {
                "http": _at(made.cloud.http.port),
                "mqtt": _at(made.cloud.mqtt.port),
                "sync": _at(made.cloud.sync.listen.port),
            },
            "edge": {"http": _at(made.edge.http.port), "mqtt": _at(made.edge.mqtt.port)},
            "kafka": kafka[0] if kafka else None,
            "cassandra": cassandra[0].contact_points[0] if cassandra else None,
            "pids": self._supervisor.pids,
            "admin": {
                "username": ADMIN_USERNAME,
                "password_file": str(made.password_file) if made.password_file else None,
            },
            "devices": [
                {"name": device.name, "id": device.id, "token": device.token}
                for device in made.devices
            ],
        }

    def _changed(self) -> None:
        """Keep the ready line of now, with the process ids of now, in the data folder."""
        if self._made is not None:
            line = orjson.dumps(self._line(self._made))
            write_whole(self._data / RUNNING_FILE, line, 0o600)

    def _tell(self, made: Demonstration) -> None:
        if self._options.as_json:
            print_json(self._line(made))
            sys.stdout.flush()
        else:
            print_ready(self._line(made), made)


def _as_name_or_path(chain: str | None) -> str | None:
    """A path is made absolute: the sites run in their own folders."""
    if chain is not None and (os.sep in chain or chain.endswith(".yaml")):
        return str(Path(chain).resolve())
    return chain


async def _not_linked(edge_http: int) -> str:
    """What the Edge's link says that keeps it from the Cloud; empty when nothing does."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, edge_http)
        try:
            writer.write(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await reader.read()
        finally:
            writer.close()
        return str(orjson.loads(answer.partition(b"\r\n\r\n")[2])["parts"]["sync"]["detail"])
    except (OSError, TimeoutError, orjson.JSONDecodeError, KeyError) as error:
        return str(error) or "no answer"


def _at(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _say(line: str) -> None:
    click.echo(line, err=True)
