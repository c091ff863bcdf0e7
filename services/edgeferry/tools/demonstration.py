"""What ``edgeferry up`` makes in its data folder before a site can start: certificates, the
demonstration edge with its devices, a password, the settings of both sites."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from edgeferry.core.clock import Clock
from edgeferry.core.ids import new_token
from edgeferry.gateway.devices import Device, add_device, read_devices
from edgeferry.runtime.settings import (
    CassandraSettings,
    KafkaSettings,
    ListenSettings,
    LogSettings,
    Settings,
    StoreSettings,
    SyncSettings,
)
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.edges import add_edge
from edgeferry.tools.data_folder import LOOPBACK, Remembered, write_whole
from edgeferry.tools.options import settings_path

EDGE_NAME = "demonstration"
PASSWORD_VARIABLE = "EDGEFERRY_ADMIN_PASSWORD"


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses as host:port."""

    kafka: str
    cassandra: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """password_file is None when the operator gave the password by the environment."""

    edge: Settings
    cloud: Settings
    devices: tuple[Device, ...]
    password: str
    password_file: Path | None


def prepare(
    data: Path, servers: Servers, remembered: Remembered, devices: int, clock: Clock
) -> Demonstration:
    """Make what is missing and write the settings; ``remembered`` is completed and kept.

    Raises InvalidSettings."""
    data = data.resolve()
    tls = ensure_dev_authority(data / "tls", clock)
    edges_file, secret_file = data / "cloud" / "edges.json", data / "edge" / "secret"
    if not (remembered.edge_key and secret_file.exists() and edges_file.exists()):
        # a secret is kept nowhere but here: without it the edge has to be made anew
        edges_file.unlink(missing_ok=True)
        edge, secret = add_edge(edges_file, EDGE_NAME)
        write_whole(secret_file, secret.encode(), 0o600)
        remembered.edge_key = edge.key
    remembered.write(data)
    devices_file = data / "edge" / "devices.json"
    for number in range(len(read_devices(devices_file)) + 1, devices + 1):
        add_device(devices_file, f"device-{number}")
    ports = remembered.ports
    log = LogSettings(kind="kafka", kafka=KafkaSettings(bootstrap=servers.kafka))
    cloud = Settings(
        role="cloud",
        site="cloud",
        data=data / "cloud",
        root_chain=remembered.chains["cloud"],
        log=log,
        store=StoreSettings(
            kind="cassandra", cassandra=CassandraSettings(contact_points=(servers.cassandra,))
        ),
        http=_listen(ports["cloud-http"]),
        mqtt=_listen(ports["cloud-mqtt"]),
        sync=SyncSettings(
            listen=_listen(ports["sync"]),
            cert_file=tls.cert,
            key_file=tls.key,
            edges_file=edges_file,
        ),
        devices_file=data / "cloud" / "devices.json",
    )
    edge_settings = Settings(
        role="edge",
        site="edge",
        data=data / "edge",
        root_chain=remembered.chains["edge"],
        log=log,
        http=_listen(ports["edge-http"]),
        mqtt=_listen(ports["edge-mqtt"]),
        sync=SyncSettings(
            address=f"{LOOPBACK}:{ports['sync']}",
            ca_file=tls.ca,
            edge_key=remembered.edge_key,
            edge_secret_file=secret_file,
        ),
        devices_file=devices_file,
    )
    for settings in (cloud, edge_settings):
        _write(data, settings)
    password, password_file = _password(data)
    return Demonstration(
        edge=edge_settings,
        cloud=cloud,
        devices=read_devices(devices_file)[:devices],
        password=password,
        password_file=password_file,
    )


def _listen(port: int) -> ListenSettings:
    return ListenSettings(host=LOOPBACK, port=port)


def _write(data: Path, settings: Settings) -> None:
    """Only what differs from the defaults, for people to read."""
    document = settings.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump(
        {"role": settings.role, "site": settings.site, **document}, sort_keys=False
    )
    head = "# Written by `edgeferry up` at every start.\n"
    write_whole(settings_path(data, settings.site), (head + text).encode())


def _password(data: Path) -> tuple[str, Path | None]:
    """The administrator's, of both sites."""
    given = os.environ.get(PASSWORD_VARIABLE)
    path = data / "admin-password"
    if given:
        return given, None
    if not path.exists():
        write_whole(path, f"{new_token()}\n".encode(), 0o600)
    return path.read_text().strip(), path
