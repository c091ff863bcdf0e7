"""What ``edgeferry edge`` and ``edgeferry cloud`` share: one site in a data folder, its settings
kept there as a file that people may change, run in this process."""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import (
    HttpSettings,
    ListenSettings,
    MqttSettings,
    Settings,
    load_settings,
)
from edgeferry.tools.chain_change import RootChain
from edgeferry.tools.data_folder import (
    DEFAULT_PORTS,
    PortTaken,
    any_free_port,
    belongs_to_up,
    is_free,
)
from edgeferry.tools.opened import servers_must_answer
from edgeferry.tools.options import log_option, settings_path, store_option
from edgeferry.tools.ready import Ready
from edgeferry.tools.settings_file import before_path, write_settings
from edgeferry.tools.shape import (
    HERE,
    Asked,
    LogKind,
    Role,
    SiteShape,
    StoreKind,
    check_unchanged,
    kept_settings,
    log_settings,
    shape_of,
    store_settings,
)

F = TypeVar("F", bound=Callable[..., Any])
_STATE = ("log.db", "store.db", "credentials.key", "accounts.json")
"""Files of which a site has some when it has run."""

L = TypeVar("L", bound=ListenSettings)
D = TypeVar("D", HttpSettings, MqttSettings)


@dataclass(frozen=True, slots=True)
class AloneOptions:
    """None where the operator did not say."""

    data: Path
    host: str | None
    http: int | None
    mqtt: int | None
    chain: str | None
    log: LogKind | None
    store: StoreKind | None
    kafka: str | None
    cassandra: str | None

    @property
    def asked(self) -> Asked:
        return Asked(self.log, self.store, self.kafka, self.cassandra)

    @property
    def says_more(self) -> bool:
        """Than which folder."""
        said = (self.host, self.http, self.mqtt, self.chain)
        return any(value is not None for value in said) or self.asked != Asked()


def alone_options(role: Role) -> Callable[[F], F]:
    """Those of ``AloneOptions``."""
    http, mqtt = DEFAULT_PORTS[f"{role}-http"], DEFAULT_PORTS[f"{role}-mqtt"]
    port = click.IntRange(0, 65535)
    options = [
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("data"),
            show_default=True,
            help=f"Folder that holds all state, in {role}/; a second start goes on with it.",
        ),
        click.option(
            "--host",
            help="Address to listen on; 0.0.0.0 for all.  [default: as before, or 127.0.0.1]",
        ),
        click.option(
            "--http",
            type=port,
            help=f"Port; 0 takes a free one and keeps it.  [default: as before, or {http}]",
        ),
        click.option(
            "--mqtt",
            type=port,
            help=f"Port; 0 takes a free one and keeps it.  [default: as before, or {mqtt}]",
        ),
        click.option("--chain", help="Its root chain: a name or a file.  [default: as before]"),
        log_option("--log", "Where its log is."),
        store_option("--store", "Where its values are."),
        click.option("--kafka", metavar="HOST:PORT", help="For --log kafka."),
        click.option("--cassandra", metavar="HOST:PORT", help="For --store cassandra."),
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


class AloneSite:
    """The site in its folder. ``kept``: its settings of before, None the first time."""

    def __init__(self, role: Role, options: AloneOptions) -> None:
        """Raises InvalidSettings."""
        self.role = role
        self.options = options
        self.folder = options.data.resolve() / role
        self.file = settings_path(options.data.resolve(), role)
        if belongs_to_up(options.data):
            raise InvalidSettings(
                f"{options.data} belongs to `edgeferry up`: choose another folder with --data"
            )
        self.kept = kept_settings(options.data.resolve(), role)
        if self.kept is not None:
            _check_no_copy(self.file, self.kept.data)
        self._taken: set[int] = set()

    def settings(self) -> Settings:
        """The kept ones, and over them what was asked for; its sync as it was kept.

        Raises ShapeChanged, InvalidSettings."""
        options, role = self.options, self.role
        before = shape_of(self.kept, {}) if self.kept is not None else None
        shape = options.asked.over(before or SiteShape())
        if before is not None:
            check_unchanged(options.data, role, before, shape)
        for option, address in (("kafka", shape.kafka), ("cassandra", shape.cassandra)):
            if address == HERE:
                raise InvalidSettings(f"say with --{option} HOST:PORT where it runs")
        base = self.kept or Settings(
            role=role,
            site=role,
            data=self.folder,
            log=log_settings(shape, {}),
            store=store_settings(shape, {}, role),
            http=HttpSettings(port=DEFAULT_PORTS[f"{role}-http"]),
            mqtt=MqttSettings(port=DEFAULT_PORTS[f"{role}-mqtt"]),
            devices_file=self.folder / "devices.json",
        )
        return base.model_copy(
            update={
                "root_chain": self._root_chain().wanted,
                "http": self._with_tls(self.listening(base.http, options.http)),
                "mqtt": self._with_tls(self.listening(base.mqtt, options.mqtt)),
            }
        )

    def listening(self, before: L, port: int | None, host: str | None = None) -> L:
        """port: as asked for; a free one for 0, which is then kept. host: as asked for of this
        one alone. Raises PortTaken."""
        host = host or self.options.host or before.host
        if port == 0:
            port = any_free_port(host, self._taken)
            self._taken.add(port)
        chosen = before.port if port is None else port
        return before.model_copy(update={"host": host, "port": chosen})

    def _with_tls(self, listen: D) -> D:
        """Its listener with TLS opens to whom the plain one does."""
        if self.options.host is None:
            return listen
        tls = listen.tls.model_copy(update={"host": listen.host})
        return listen.model_copy(update={"tls": tls})

    def _root_chain(self) -> RootChain:
        asked = self.options.chain
        if asked is not None and (os.sep in asked or asked.endswith(".yaml")):
            asked = str(Path(asked).resolve())
        before = (self.kept.root_chain or None) if self.kept is not None else None
        return RootChain(role=self.role, before=before, asked=asked, option="--chain")

    def check(self, settings: Settings, ports: Mapping[str, ListenSettings]) -> None:
        """What can be told before anything is written. ports: option -> address.

        Raises InvalidChain, PortTaken, ChainNotEmpty, LogUnavailable, StoreUnavailable."""
        chain = self._root_chain()
        chain.check()
        if self.kept is None:  # later starts may come before those of their servers
            asyncio.run(servers_must_answer(shape_of(settings, {})))
        for option, listen in ports.items():
            if listen.port and not is_free(listen.port, listen.host):
                raise PortTaken(
                    f"port {listen.port} on {listen.host} is taken or not allowed: stop what "
                    f"listens there or give another --{option}"
                )
        if chain.changed:
            warning = asyncio.run(chain.unread(settings, self.file))
            if warning:
                click.echo(warning, err=True)

    def write(self, settings: Settings) -> None:
        head = (
            f"Kept by `edgeferry {self.role}`; what you change here stays. When an option of it "
            f"changes\na setting, this file is written anew; your comments are then in "
            f"{before_path(self.file).name}."
        )
        write_settings(self.file, settings, head)

    @staticmethod
    def secure(settings: Settings) -> list[tuple[str, str]]:
        """What listens with TLS beside the plain listeners."""
        listed = (
            ("REST, device HTTP with TLS", settings.http.tls),
            ("device MQTT with TLS", settings.mqtt.tls),
        )
        return [(name, f"{tls.host}:{tls.port}") for name, tls in listed if tls.cert is not None]

    def run(self, announce: Callable[[Ready], Callable[[], None]]) -> int:
        """Until a signal; the exit code."""
        from edgeferry.tools.site_command import run_site
        from edgeferry.tools.site_wanted import WHOLE

        settings = load_settings(self.file)
        if settings.log.kind == "kafka":
            from edgeferry.tools.topics import apply_topics

            asyncio.run(apply_topics(settings))
        return run_site(lambda: settings, WHOLE, "0", announce)


def _check_no_copy(file: Path, data: Path) -> None:
    """Whether a file of before paths were told from its place on was copied or moved with what
    lies beside it: whoever goes on by it goes on with the original. Raises InvalidSettings."""
    here = file.parent
    if data.resolve() == here or not any((here / name).exists() for name in _STATE):
        return
    if data.exists() and not (data / file.name).exists():
        return  # put there by the site's owner
    raise InvalidSettings(
        f"{file} was copied or moved here with its folder, and still names {data} as the place "
        f"of its data. To go on with what lies here, write {here.parent} in place of "
        f"{data.parent} in all of its paths"
    )
