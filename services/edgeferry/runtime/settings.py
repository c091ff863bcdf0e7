"""How a site runs: typed settings from a file, the environment and a secrets folder.

Chains (what flows where) and deployment (how many processes) are other files.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.runtime.settings_paths import Names, absolute, path_names
from edgeferry.runtime.settings_sources import (
    PREFIX,
    Given,
    from_environment,
    from_file,
    from_overrides,
    from_secrets,
    merged,
    problem_lines,
)


def _split(value: object) -> object:
    """Text with commas where a list is wanted, as environment variables have it."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean(cls, value: object) -> object:
        """No setting is one, and pydantic would take it for 1 or 0."""
        if isinstance(value, bool):
            shown = "true" if value else "false"
            raise PydanticCustomError("bool", f"should not be {shown}: no setting is a boolean")
        return value


class KafkaSettings(_Section):
    bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port...] of the brokers")
    replication: int = Field(1, ge=1, description="replicas of topics that we make")
    partitions: int = Field(12, ge=1, le=1000, description="partitions of chain topics")


class LogSettings(_Section):
    kind: Literal["sqlite", "kafka"] = Field(
        "sqlite", description="sqlite: a file in the data folder, of one process"
    )
    keep_seconds: float = Field(
        3600.0, ge=1, description="how long records that everybody has read stay for inspection"
    )
    kafka: KafkaSettings = KafkaSettings()


class CassandraSettings(_Section):
    contact_points: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        ("127.0.0.1:9042",), min_length=1, description="host:port each"
    )
    keyspace: str = Field("edgeferry", description="made when it is missing")
    replication: int = Field(1, ge=1, description="replicas, when we make the keyspace")
    consistency: Literal["LOCAL_QUORUM", "LOCAL_ONE"] = Field(
        "LOCAL_QUORUM", description="replicas that confirm each write and read"
    )
    ts_partitioning: Literal["MINUTES", "HOURS", "DAYS", "MONTHS", "YEARS", "INDEFINITE"] = Field(
        "MONTHS", description="time span of one partition of a key's history; never change it"
    )


class StoreSettings(_Section):
    kind: Literal["sqlite", "cassandra"] = Field(
        "sqlite", description="sqlite: a file in the data folder"
    )
    cassandra: CassandraSettings = CassandraSettings()
    credentials_key_file: Path | None = Field(
        None,
        description="with which devices' tokens are found and sealed (64 hexadecimal digits); "
        "without it credentials.key of the data folder; either is made when it is missing; "
        "all processes of a site need the same",
    )


class ListenSettings(_Section):
    """An address to listen on; port 0 takes a free one."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(0, ge=0, le=65535, description="0 takes a free one")


class HttpTlsSettings(_Section):
    """HTTP over TLS, beside the plain listener; on where a certificate is given."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8443, ge=0, le=65535, description="0 takes a free one")
    cert: Path | None = Field(None, description="certificate chain (PEM)")
    key: Path | None = Field(None, description="private key of the certificate (PEM)")


class HttpSettings(ListenSettings):
    """REST, probes, and devices that speak HTTP."""

    tls: HttpTlsSettings = HttpTlsSettings()


class MqttTlsSettings(_Section):
    """MQTT over TLS, beside the plain listener; on where a certificate is given."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for all")
    port: int = Field(8883, ge=0, le=65535, description="0 takes a free one")
    cert: Path | None = Field(None, description="certificate chain (PEM)")
    key: Path | None = Field(None, description="private key of the certificate (PEM)")
    client_ca: Path | None = Field(
        None,
        description="certificates (PEM) that those of clients come from; devices with "
        "X509_CERTIFICATE credentials log in with theirs then",
    )


class MqttSettings(ListenSettings):
    """Where devices connect by MQTT."""

    tls: MqttTlsSettings = MqttTlsSettings()
    connections: int = Field(
        10_000,
        ge=1,
        description="at once; fewer where the system lets the process open fewer files. Who "
        "connects and does not log in makes room first",
    )


class LimitSettings(_Section):
    """What a device may send (promises of section 6)."""

    payload_bytes: int = Field(65_536, ge=1, description="of one message")
    keys_per_message: int = Field(256, ge=1, description="in one message")
    key_length: int = Field(255, ge=1, description="characters")
    json_depth: int = Field(8, ge=1, description="levels of a JSON value")
    device_rate: float = Field(
        1000.0,
        ge=0,
        description="messages per second of one device, one above 4 KiB counting for each 4 KiB; "
        "0: no limit",
    )
    device_burst: int = Field(5000, ge=1, description="messages of one device at once")
    site_rate: float = Field(
        50_000.0, ge=0, description="messages per second of all devices together; 0: no limit"
    )
    site_burst: int = Field(100_000, ge=1, description="messages of all devices at once")
    devices_per_gateway: int = Field(
        10_000, ge=1, description="devices at once behind one connection of a gateway"
    )


class StateSettings(_Section):
    """When a device counts as gone (its SERVER attribute ``active``)."""

    inactivity_seconds: int = Field(
        600,
        ge=1,
        description="without news of a device until it is inactive; the SERVER attribute "
        "inactivityTimeout (ms) of a device goes before",
    )
    activity_seconds: int = Field(
        300,
        ge=1,
        description="at most so often lastActivityTime of an active device is written",
    )

    @property
    def inactivity_ms(self) -> int:
        return 1000 * self.inactivity_seconds

    @property
    def activity_ms(self) -> int:
        return 1000 * self.activity_seconds


OutboxPolicy = Literal["drop_oldest", "refuse_new"]


_POLICY_TEXT = (
    "at an Edge, when a cap is reached: drop_oldest deletes a twentieth of the cap, oldest first; "
    "refuse_new refuses what devices send until there is room"
)
_GENERAL_POLICY_TEXT = (
    f"{_POLICY_TEXT}. What drop_oldest deletes here never travels: attributes, entities and "
    "credentials of the Edge are sent again as they stand when there is room; alarms, answers to "
    "commands and that an entity was deleted are not, there both sites differ"
)
_MAX_BYTES_TEXT = (
    "at an Edge: of events not acknowledged by the Cloud; 0: no cap. What was acknowledged to "
    "devices before a refusal still comes through the chain and may overshoot it"
)


class OutboxLaneSettings(_Section):
    """What may wait for the Cloud in one lane, and what happens when it is full: attributes,
    alarms and commands are kept."""

    policy: OutboxPolicy = Field("refuse_new", description=_GENERAL_POLICY_TEXT)
    max_bytes: int = Field(2 * 1024**3, ge=0, description=_MAX_BYTES_TEXT)
    max_events: int = Field(
        0, ge=0, description="at an Edge: events not acknowledged by the Cloud; 0: no cap"
    )
    max_age_seconds: float = Field(
        0.0, ge=0, description="at an Edge: of the oldest event; 0: no cap"
    )


class TelemetryOutboxSettings(OutboxLaneSettings):
    """Of telemetry the newest is worth most."""

    policy: OutboxPolicy = Field("drop_oldest", description=_POLICY_TEXT)
    max_bytes: int = Field(8 * 1024**3, ge=0, description=_MAX_BYTES_TEXT)


class OutboxSettings(_Section):
    general: OutboxLaneSettings = OutboxLaneSettings()
    telemetry: TelemetryOutboxSettings = TelemetryOutboxSettings()


class DiskSettings(_Section):
    min_free_bytes: int | None = Field(
        None,
        ge=0,
        description="of the data folder's file system; below it devices are refused, so that the "
        "log and the store can still write what was acknowledged. By default 256 MiB, on a file "
        "system below 512 MiB half of it; 0: not watched",
    )


class SyncSettings(_Section):
    """The Cloud listens on ``listen``; an Edge dials ``address``."""

    listen: ListenSettings = ListenSettings(port=7070)
    address: str = Field("", description="host:port of the Cloud's sync, as Edges dial it")
    server_name: str = Field("", description="name in the Cloud's certificate, when not the host")
    ca_file: Path | None = Field(None, description="certificate authority that the Edge trusts")
    fingerprint: str = Field(
        "", description="sha256:<hex> of a certificate that the Cloud presents, instead of ca_file"
    )
    cert_file: Path | None = Field(None, description="the Cloud's certificate chain (PEM)")
    key_file: Path | None = Field(None, description="the Cloud's private key (PEM)")
    edge_key: str = Field("", description="routing key of this Edge")
    edge_secret_file: Path | None = Field(None, description="file with this Edge's secret")
    edges_file: Path | None = Field(None, description="the Cloud's list of edges (JSON)")
    batch_bytes: int = Field(262_144, ge=1024, description="of one batch, before compression")
    in_flight: int = Field(8, ge=1, le=64, description="batches under way per lane")
    outbox: OutboxSettings = OutboxSettings()


class ApiSettings(_Section):
    access_seconds: int = Field(900, ge=10, description="how long an access token is good")
    refresh_seconds: int = Field(604_800, ge=60, description="how long a refresh token is good")
    jwt_secret: SecretStr = Field(
        SecretStr(""),
        description="signs tokens, 32 bytes or more; made in the data folder when empty; "
        "several API processes need the same",
    )
    read_token: SecretStr = Field(
        SecretStr(""),
        description="opens /metrics and the schema registry to other machines; closed when empty",
    )


class Settings(_Section):
    """One site. Environment: EDGEFERRY_<NAME>, nested with double underscores."""

    role: Literal["edge", "cloud"] = Field("edge", description="which end of the link this is")
    site: str = Field(
        "edge",
        pattern=r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)?$",
        description="first part of all topic names: cloud, edge, or edge.<name>",
    )
    data: Path = Field(Path("data"), description="folder that holds all local state")
    tenant_id: str = Field(DEFAULT_TENANT_ID, description="owner of all entities of this site")
    root_chain: str = Field("", description="name or file of the root chain; default by role")
    log: LogSettings = LogSettings()
    store: StoreSettings = StoreSettings()
    http: HttpSettings = HttpSettings(port=8080)
    mqtt: MqttSettings = MqttSettings(port=1883)
    sync: SyncSettings = SyncSettings()
    limits: LimitSettings = LimitSettings()
    states: StateSettings = StateSettings()
    disk: DiskSettings = DiskSettings()
    api: ApiSettings = ApiSettings()
    devices_file: Path | None = Field(None, description="devices and tokens (JSON)")
    provisioning_file: Path | None = Field(
        None,
        description="keys and secrets with which devices ask for credentials, by profile (JSON); "
        "without it none gets any",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="the least that is logged"
    )


PATHS: tuple[Names, ...] = tuple(path_names(Settings))


def load_settings(
    file: Path | None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Settings of a YAML (or JSON) file (its paths are from its folder on, all others from where
    the process is), above it those of a folder of secrets (its path in
    EDGEFERRY_SECRETS; one file per setting, named as the environment would), above it the
    environment, above it ``overrides`` (by dotted name, None for not given).

    Raises InvalidSettings with every problem: which setting, what is wrong, where it is from,
    what to do."""
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    names = list(Settings.model_fields)
    given: list[Given] = from_file(file, problems)
    if file is not None:
        given = absolute(given, file, PATHS)
    folder = environ.get(f"{PREFIX}SECRETS")
    if folder:
        given += from_secrets(Path(folder), names, problems)
    given += from_environment(environ, names, problems)
    given += from_overrides(overrides or {})
    try:
        settings = Settings.model_validate(merged(given))
    except ValidationError as error:
        problems += problem_lines(error, given, Settings)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise InvalidSettings(f"{count} in the settings:{lines}")
    return settings
