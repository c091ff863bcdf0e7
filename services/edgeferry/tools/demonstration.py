"""What ``edgeferry up`` makes in its data folder before a site can start: certificates, the
demonstration edge with its devices, a password, the settings of both sites."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.core.ids import new_token
from edgeferry.files.whole import write_whole
from edgeferry.gateway.devices import Device, add_device, read_devices
from edgeferry.runtime.settings import ListenSettings, Settings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.edges import Edges, add_edge, rotate_secret
from edgeferry.tools.data_folder import LOOPBACK
from edgeferry.tools.options import settings_path
from edgeferry.tools.settings_file import write_settings
from edgeferry.tools.shape import (
    Role,
    SiteShape,
    kept_settings,
    log_settings,
    store_settings,
)

EDGE_NAME = "demonstration"
PASSWORD_VARIABLE = "EDGEFERRY_ADMIN_PASSWORD"
_HEAD = """\
Kept by `edgeferry up`, which says at every start where the site is: data, root_chain, where its
log and store are, host and port of http, mqtt and sync.listen, devices_file, and address,
certificates, key and secret of sync. What you change of anything else stays. When `up` changes a
setting, this file is written anew; your comments are then in settings.yaml.before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """ports: by option of ``up``; chains: names or files; here: addresses of the servers that
    the folder starts; devices: how many the demonstration edge has."""

    ports: Mapping[str, int]
    chains: Mapping[str, str]
    shapes: Mapping[Role, SiteShape]
    here: Mapping[str, str]
    devices: int


@dataclass(frozen=True, slots=True)
class Demonstration:
    """password_file is None when the operator gave the password by the environment."""

    edge: Settings
    cloud: Settings
    devices: tuple[Device, ...]
    password: str
    password_file: Path | None

    @property
    def sites(self) -> tuple[Settings, Settings]:
        return self.cloud, self.edge

    def write(self, data: Path) -> None:
        """The settings of both sites."""
        for settings in self.sites:
            write_settings(settings_path(data, settings.role), settings, _HEAD)


def prepare(data: Path, plan: Plan, clock: Clock) -> Demonstration:
    """Make what is missing, the files of settings excepted. Raises InvalidSettings."""
    tls = ensure_dev_authority(data / "tls", clock)
    edges_file, secret_file = data / "cloud" / "edges.json", data / "edge" / "secret"
    devices_file = data / "edge" / "devices.json"
    missing = plan.devices - len(read_devices(devices_file))
    for number in range(plan.devices - missing + 1, plan.devices + 1):
        add_device(devices_file, f"device-{number}")
    key = _edge_key(edges_file, secret_file)
    password, password_file = _password(data)
    dialled = {
        "address": f"{LOOPBACK}:{plan.ports['sync']}",
        "ca_file": tls.ca,
        "edge_key": key,
        "edge_secret_file": secret_file,
    }
    listening = {
        "listen": _listen(plan.ports["sync"]),
        "cert_file": tls.cert,
        "key_file": tls.key,
        "edges_file": edges_file,
    }
    return Demonstration(
        edge=_site("edge", data, plan, dialled),
        cloud=_site("cloud", data, plan, listening),
        devices=read_devices(devices_file)[: plan.devices],
        password=password,
        password_file=password_file,
    )


def _site(role: Role, data: Path, plan: Plan, sync: Mapping[str, object]) -> Settings:
    """As it was kept, where ``up`` has no say; sync: in what it has of that."""
    kept = kept_settings(data, role) or Settings(role=role, site=role)
    mqtt = {"host": LOOPBACK, "port": plan.ports[f"{role}-mqtt"]}
    return kept.model_copy(
        update={
            "role": role,
            "site": role,
            "data": data / role,
            "root_chain": plan.chains[role],
            "log": log_settings(plan.shapes[role], plan.here, kept.log),
            "store": store_settings(plan.shapes[role], plan.here, role, kept.store),
            "http": kept.http.model_copy(update=_listen(plan.ports[f"{role}-http"]).model_dump()),
            "mqtt": kept.mqtt.model_copy(update=mqtt),
            "sync": kept.sync.model_copy(update=sync),
            "devices_file": data / role / "devices.json",
        }
    )


def _listen(port: int) -> ListenSettings:
    return ListenSettings(host=LOOPBACK, port=port)


def _edge_key(edges_file: Path, secret_file: Path) -> str:
    """Of the demonstration edge. A secret is kept nowhere but at the Edge: without it there
    the edge gets a new one."""
    found = [edge for edge in Edges(edges_file).all() if edge.name == EDGE_NAME]
    if found and secret_file.exists():
        return found[0].key
    edge, secret = (rotate_secret if found else add_edge)(edges_file, EDGE_NAME)
    write_whole(secret_file, secret.encode(), 0o600)
    return edge.key


def _password(data: Path) -> tuple[str, Path | None]:
    """The administrator's, of both sites."""
    given = os.environ.get(PASSWORD_VARIABLE)
    path = data / "admin-password"
    if given:
        return given, None
    if not path.exists():
        write_whole(path, f"{new_token()}\n".encode(), 0o600)
    return path.read_text().strip(), path
