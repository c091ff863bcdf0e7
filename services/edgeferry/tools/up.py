"""``edgeferry up``: servers, an Edge and a Cloud on this machine, by one command."""

import asyncio
import os
import signal
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table

from edgeferry.api.auth import ADMIN_USERNAME
from edgeferry.core.chain import Chain
from edgeferry.core.clock import Clock, SystemClock
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.topics import Role
from edgeferry.rules.loader import load_chain
from edgeferry.runtime.settings import Settings
from edgeferry.tools.chain_change import ChainChange, check_change
from edgeferry.tools.data_folder import (
    DEFAULT_PORTS,
    LOOPBACK,
    Remembered,
    choose_ports,
    held,
    write_whole,
)
from edgeferry.tools.demonstration import (
    PASSWORD_VARIABLE,
    Demonstration,
    Servers,
    prepare,
)
from edgeferry.tools.options import settings_path
from edgeferry.tools.output import asynchronous, json_option, print_json
from edgeferry.tools.servers import LocalServers, ServerOptions
from edgeferry.tools.supervise import ChildProcess, ChildSpec, Part, Supervisor
from edgeferry.tools.topics import apply_topics

RUNNING_FILE = "running.json"
_DEFAULT_CHAINS: Mapping[Role, str] = {"edge": "edge_root", "cloud": "cloud_root"}
_SITE_START_SECONDS = 120.0
_LINK_SECONDS = 15.0
_TABLE_COLUMNS = 100
_LINK_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class UpOptions:
    """ports and chains: None where the operator did not say."""

    data: Path
    ports: Mapping[str, int | None]
    chains: Mapping[str, str | None]
    devices: int
    as_json: bool


def _port_options(command: Any) -> Any:
    for option, default in reversed(list(DEFAULT_PORTS.items())):
        command = click.option(
            f"--{option}",
            type=click.IntRange(0, 65535),
            help=f"Port; 0 takes a free one.  [default: {default}, or a free one]",
        )(command)
    return command


@click.command()
@click.option(
    "--servers",
    type=click.Choice(["local"]),
    required=True,
    help="local: Kafka and Cassandra are started here, as processes of this machine.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that holds all state; a second start goes on with it.",
)
@click.option("--devices", type=click.IntRange(1, 10_000), default=4, show_default=True)
@click.option("--chain-cloud", help="The Cloud's root chain: a name or a file.")
@click.option("--chain-edge", help="The Edge's root chain: a name or a file.")
@_port_options
@json_option
@asynchronous
async def up(
    servers: str,
    data: Path,
    devices: int,
    chain_cloud: str | None,
    chain_edge: str | None,
    as_json: bool,
    **ports: int | None,
) -> None:
    """Run Kafka, Cassandra, an Edge and a Cloud; stop all of them with Ctrl-C."""
    options = UpOptions(
        data=data.resolve(),
        ports={name.replace("_", "-"): port for name, port in ports.items()},
        chains={"cloud": chain_cloud, "edge": chain_edge},
        devices=devices,
        as_json=as_json,
    )
    with held(options.data):
        await _Up(options, SystemClock()).run()


class _Up:
    """One run of the whole installation."""

    def __init__(self, options: UpOptions, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._servers = LocalServers(options.data, options=ServerOptions(tied=True, say=_say))
        self._parts: list[Part] = list(self._servers.all)
        self._supervisor = Supervisor(self._parts, clock, _say, self._changed)
        self._made: Demonstration | None = None
        self._addresses: Servers | None = None

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises EdgeferryError when it cannot start."""
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        running = self._options.data / RUNNING_FILE
        running.unlink(missing_ok=True)
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
            _say("stopping")
            await self._supervisor.stop()
            running.unlink(missing_ok=True)

    async def _start(self) -> None:
        options = self._options
        remembered = Remembered.read(options.data)
        names, chains = dict[str, str](), dict[Role, Chain]()
        for role, default in _DEFAULT_CHAINS.items():
            asked = options.chains[role]
            name = _as_name_or_path(asked) if asked else remembered.chains.get(role, default)
            names[role], chains[role] = name, load_chain(name, role)
        starting = replace(remembered, chains=names)
        starting.ports, notes = choose_ports(options.ports, remembered.ports)
        for note in notes:
            _say(note)
        _say("starting Kafka and Cassandra")
        async with asyncio.TaskGroup() as group:
            for server in self._servers.all:
                group.create_task(self._supervisor.start(server))
        kafka, cassandra = (server.address for server in self._servers.all)
        self._addresses = Servers(kafka=kafka or "", cassandra=cassandra or "")
        for role, chain in chains.items():
            await self._check_chain(role, chain, names[role], remembered.chains.get(role))
        made = prepare(options.data, self._addresses, starting, options.devices, self._clock)
        replace(starting, chains=remembered.chains).write(options.data)
        for settings in (made.cloud, made.edge):
            await apply_topics(settings)
        _say("starting the Cloud and the Edge")
        sites = [self._site(settings, made) for settings in (made.cloud, made.edge)]
        self._parts += sites
        async with asyncio.TaskGroup() as group:
            for site in sites:
                group.create_task(self._supervisor.start(site))
        starting.write(options.data)  # from now on records stand in the topics of these chains
        await self._until_linked(made.edge.http.port)
        self._made = made
        self._changed()
        self._tell(made)

    async def _check_chain(self, role: Role, chain: Chain, wanted: str, before: str | None) -> None:
        """Raises ChainNotEmpty."""
        assert self._addresses is not None
        change = ChainChange(
            role=role,
            site=role,
            before=before,
            wanted=wanted,
            chain=chain,
            settings=str(settings_path(self._options.data, role)),
        )
        warning = await check_change(KafkaTopics(self._addresses.kafka), change)
        if warning:
            _say(warning)

    async def _until_linked(self, edge_http: int) -> None:
        """The Edge is ready without the Cloud; here people expect the link to be up too."""
        deadline = self._clock.monotonic() + _LINK_SECONDS
        while await asyncio.to_thread(_not_linked, f"http://{_at(edge_http)}/readyz"):
            if self._clock.monotonic() > deadline:
                _say("the Edge has not reached the Cloud yet; it goes on trying")
                return
            await asyncio.sleep(_LINK_POLL_SECONDS)

    def _site(self, settings: Settings, made: Demonstration) -> ChildProcess:
        data = self._options.data
        ready = data / settings.site / "ready.json"
        return ChildProcess(
            ChildSpec(
                name=settings.role,
                argv=(
                    *(sys.executable, "-m", "edgeferry", "site"),
                    *("--settings", str(settings_path(data, settings.site))),
                    *("--ready-file", str(ready)),
                    *("--slot", "0"),
                ),
                log=data / "logs" / f"{settings.role}.log",
                ready_file=ready,
                env={PASSWORD_VARIABLE: made.password},
                start_timeout=_SITE_START_SECONDS,
                stop_timeout=60.0,
            ),
            self._clock,
        )

    def _line(self, made: Demonstration) -> dict[str, Any]:
        """The ready line (contracts, section 6)."""
        addresses = self._addresses
        assert addresses is not None
        return {
            "ready": True,
            "cloud": {
                "http": _at(made.cloud.http.port),
                "mqtt": _at(made.cloud.mqtt.port),
                "sync": _at(made.cloud.sync.listen.port),
            },
            "edge": {"http": _at(made.edge.http.port), "mqtt": _at(made.edge.mqtt.port)},
            "kafka": addresses.kafka,
            "cassandra": addresses.cassandra,
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
            write_whole(self._options.data / RUNNING_FILE, line, 0o600)

    def _tell(self, made: Demonstration) -> None:
        if self._options.as_json:
            print_json(self._line(made))
            sys.stdout.flush()
        else:
            _print_table(self._line(made), made)


def _as_name_or_path(chain: str) -> str:
    """A path is made absolute: the sites run in their own folders."""
    return str(Path(chain).resolve()) if os.sep in chain or chain.endswith(".yaml") else chain


def _not_linked(readyz: str) -> str:
    """What the Edge's link says that keeps it from the Cloud; empty when nothing does."""
    try:
        with urllib.request.urlopen(readyz, timeout=5) as answer:
            return str(orjson.loads(answer.read())["parts"]["sync"]["detail"])
    except OSError as error:
        return str(error)


def _at(port: int) -> str:
    return f"{LOOPBACK}:{port}"


def _say(line: str) -> None:
    click.echo(line, err=True)


def _print_table(line: Mapping[str, Any], made: Demonstration) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.width = max(console.width, _TABLE_COLUMNS)  # ids and tokens are there to be copied
    table = Table("what", "address", "process", title="Edgeferry is ready", title_justify="left")
    pids = line["pids"]
    cloud, edge = line["cloud"], line["edge"]
    table.add_row("Cloud REST", f"http://{cloud['http']}", str(pids["cloud"]))
    table.add_row("Cloud device MQTT", cloud["mqtt"], "")
    table.add_row("sync (gRPC, TLS)", cloud["sync"], "")
    table.add_row("Edge REST, device HTTP", f"http://{edge['http']}", str(pids["edge"]))
    table.add_row("Edge device MQTT", edge["mqtt"], "")
    table.add_row("Kafka", line["kafka"], str(pids["kafka"]))
    table.add_row("Cassandra", line["cassandra"], str(pids["cassandra"]))
    console.print(table)
    devices = Table("device at the Edge", "id", "token")
    for device in line["devices"][:8]:
        devices.add_row(device["name"], device["id"], device["token"])
    console.print(devices)
    where = line["admin"]["password_file"] or f"as given in {PASSWORD_VARIABLE}"
    console.print(f"User {ADMIN_USERNAME}, password in {where}")
    console.print(
        f"Chains: Edge {made.edge.root_chain}, Cloud {made.cloud.root_chain}. "
        "Ctrl-C stops everything.\n"
    )
    for text in _examples(line):
        console.print(text, markup=False)


def _examples(line: Mapping[str, Any]) -> list[str]:
    device = line["devices"][0]
    mqtt_host, _, mqtt_port = line["edge"]["mqtt"].rpartition(":")
    cloud = line["cloud"]["http"]
    password = line["admin"]["password_file"]
    shown = f"$(cat {password})" if password else f"${PASSWORD_VARIABLE}"
    publish = (
        f"mosquitto_pub -h {mqtt_host} -p {mqtt_port} -u {device['token']} -q 1 "
        "-t v1/devices/me/telemetry -m '{\"temperature\": 21.5}'"
    )
    login = (
        f"TOKEN=$(curl -s http://{cloud}/api/auth/login -H 'Content-Type: application/json' "
        f'-d "{{\\"username\\":\\"{ADMIN_USERNAME}\\",\\"password\\":\\"{shown}\\"}}" '
        '| sed \'s/.*"token":"\\([^"]*\\).*/\\1/\')'
    )
    read = (
        f"curl -s 'http://{cloud}/api/plugins/telemetry/DEVICE/{device['id']}"
        '/values/timeseries?keys=temperature\' -H "X-Authorization: Bearer $TOKEN"'
    )
    return [f"Publish at the Edge:\n  {publish}", f"Read in the Cloud:\n  {login}\n  {read}"]
