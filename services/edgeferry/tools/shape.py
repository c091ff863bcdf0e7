"""What the sites of a data folder stand on: the kind of each log and store, and whose Kafka and
Cassandra. A folder keeps its shape: what was acknowledged is in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from edgeferry.core.errors import InvalidSettings, Stop
from edgeferry.runtime.settings import (
    LogSettings,
    Settings,
    StoreSettings,
    load_settings,
)
from edgeferry.tools.move_plan import check_not_moved
from edgeferry.tools.options import settings_path

LogKind = Literal["sqlite", "kafka"]
StoreKind = Literal["sqlite", "cassandra"]
Role = Literal["edge", "cloud"]

LOGS: Mapping[str, LogKind] = {"sqlite": "sqlite", "kafka": "kafka"}
STORES: Mapping[str, StoreKind] = {"sqlite": "sqlite", "cassandra": "cassandra"}

HERE = "here"
"""Instead of an address: started by us, in the data folder."""


class ShapeChanged(Stop):
    """The folder holds a site in another shape than was asked for."""


class SiteShape(NamedTuple):
    """kafka, cassandra: addresses, ``HERE``, or empty where that kind is not used."""

    log: LogKind = "sqlite"
    store: StoreKind = "sqlite"
    kafka: str = ""
    cassandra: str = ""

    def started_here(self) -> Iterator[str]:
        """Names of the servers that the folder starts for it."""
        if self.kafka == HERE:
            yield "kafka"
        if self.cassandra == HERE:
            yield "cassandra"


@dataclass(frozen=True, slots=True)
class Asked:
    """What the operator said of one site; None where nothing. An address alone stands for
    its kind."""

    log: LogKind | None = None
    store: StoreKind | None = None
    kafka: str | None = None
    cassandra: str | None = None

    def over(self, usual: SiteShape) -> SiteShape:
        log = self.log or ("kafka" if self.kafka else usual.log)
        store = self.store or ("cassandra" if self.cassandra else usual.store)
        return SiteShape(
            log,
            store,
            (self.kafka or usual.kafka or HERE) if log == "kafka" else "",
            (self.cassandra or usual.cassandra or HERE) if store == "cassandra" else "",
        )


def asked_of_up(servers: str | None, said: Mapping[str, str | None]) -> dict[Role, Asked]:
    """Of ``--servers`` and the options for each part. ``said``: cloud_log, cloud_store,
    edge_log, edge_store, kafka, cassandra. Raises InvalidSettings."""
    kafka, cassandra = said["kafka"], said["cassandra"]
    usual: dict[str, str] = {}
    if servers == "embedded":
        usual = dict.fromkeys(("cloud_log", "cloud_store", "edge_log", "edge_store"), "sqlite")
    elif servers == "local":
        usual = {"cloud_log": "kafka", "cloud_store": "cassandra"}
    if kafka:
        usual["cloud_log"] = "kafka"
    if cassandra:
        usual["cloud_store"] = "cassandra"
    chosen = {name: value or usual.get(name) for name, value in said.items()}
    if kafka and "kafka" not in (chosen["cloud_log"], chosen["edge_log"]):
        raise InvalidSettings("--kafka is of no use: with --cloud-log sqlite no log is on Kafka")
    if cassandra and "cassandra" not in (chosen["cloud_store"], chosen["edge_store"]):
        raise InvalidSettings(
            "--cassandra is of no use: with --cloud-store sqlite no store is on Cassandra"
        )
    return {role: _asked(role, chosen) for role in ("cloud", "edge")}


def _asked(role: Role, chosen: Mapping[str, str | None]) -> Asked:
    log, store = chosen[f"{role}_log"], chosen[f"{role}_store"]
    return Asked(
        log=LOGS[log] if log else None,
        store=STORES[store] if store else None,
        kafka=chosen["kafka"] if log == "kafka" else None,
        cassandra=chosen["cassandra"] if store == "cassandra" else None,
    )


def kept_settings(data: Path, role: Role) -> Settings | None:
    """Of a site that was started in this folder before. Raises InvalidSettings, Stop when it
    was moved elsewhere."""
    path = settings_path(data, role)
    if not path.exists():
        return None
    kept = load_settings(path, environ={})
    check_not_moved(kept)
    return kept


def shape_of(settings: Settings, here: Mapping[str, str]) -> SiteShape:
    """``here``: addresses of the servers that this folder starts."""
    kafka = settings.log.kafka.bootstrap if settings.log.kind == "kafka" else ""
    cassandra = ""
    if settings.store.kind == "cassandra":
        cassandra = ",".join(settings.store.cassandra.contact_points)
    return SiteShape(
        settings.log.kind,
        settings.store.kind,
        HERE if kafka and kafka == here.get("kafka") else kafka,
        HERE if cassandra and cassandra == here.get("cassandra") else cassandra,
    )


def check_unchanged(data: Path, role: Role, kept: SiteShape, wanted: SiteShape) -> None:
    """Raises ShapeChanged."""
    changes = list(_changes(kept, wanted))
    if changes:
        raise ShapeChanged(
            f"the {role.capitalize()} in {data} keeps {'; '.join(changes)}: start without these "
            "options to go on with it, choose another folder with --data, or copy what it holds "
            "first (`edgeferry move --help`). If only an address is another name of the same "
            f"server, change it in {settings_path(data, role)}"
        )


def _changes(kept: SiteShape, wanted: SiteShape) -> Iterator[str]:
    for what, before, now in (
        ("its log", (kept.log, kept.kafka), (wanted.log, wanted.kafka)),
        ("its store", (kept.store, kept.cassandra), (wanted.store, wanted.cassandra)),
    ):
        if before != now:
            yield f"{what} in {_told(*before)}, not in {_told(*now)}"


def _told(kind: str, address: str) -> str:
    name = {"sqlite": "SQLite", "kafka": "Kafka", "cassandra": "Cassandra"}[kind]
    if not address:
        return name
    return f"the {name} of this folder" if address == HERE else f"the {name} at {address}"


def log_settings(
    shape: SiteShape, here: Mapping[str, str], kept: LogSettings | None = None
) -> LogSettings:
    """kept: of before, of which all else stays."""
    kept = kept or LogSettings()
    if shape.log == "sqlite":
        return kept.model_copy(update={"kind": "sqlite"})
    bootstrap = here["kafka"] if shape.kafka == HERE else shape.kafka
    kafka = kept.kafka.model_copy(update={"bootstrap": bootstrap})
    return kept.model_copy(update={"kind": "kafka", "kafka": kafka})


def store_settings(
    shape: SiteShape, here: Mapping[str, str], role: Role, kept: StoreSettings | None = None
) -> StoreSettings:
    """kept: of before, of which all else stays: its keyspace is where its rows are. A new Edge
    on the Cloud's Cassandra has a keyspace of its own."""
    kept = kept or StoreSettings()
    if shape.store == "sqlite":
        return kept.model_copy(update={"kind": "sqlite"})
    points = here["cassandra"] if shape.cassandra == HERE else shape.cassandra
    changes: dict[str, object] = {"contact_points": tuple(points.split(","))}
    if kept.kind != "cassandra":
        changes["keyspace"] = "edgeferry" if role == "cloud" else "edgeferry_edge"
    cassandra = kept.cassandra.model_copy(update=changes)
    return kept.model_copy(update={"kind": "cassandra", "cassandra": cassandra})
