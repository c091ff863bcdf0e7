"""How a site runs: typed settings from a file, the environment and a secrets folder.

Chains (what flows where) and deployment (how many processes) are other files.
"""

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import DEFAULT_TENANT_ID


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port...] of the brokers")
    replication: int = Field(1, ge=1, description="replicas of topics that we make")
    partitions: int = Field(12, ge=1, le=1000, description="partitions of chain topics")


class CassandraSettings(_Section):
    contact_points: tuple[str, ...] = Field(("127.0.0.1:9042",), description="host:port each")
    keyspace: str = "edgeferry"
    replication: int = Field(1, ge=1, description="replicas, when we make the keyspace")
    consistency: Literal["LOCAL_QUORUM", "LOCAL_ONE"] = "LOCAL_QUORUM"
    ts_partitioning: Literal["MINUTES", "HOURS", "DAYS", "MONTHS", "YEARS", "INDEFINITE"] = "MONTHS"


class StoreSettings(_Section):
    kind: Literal["sqlite", "cassandra"] = "sqlite"
    cassandra: CassandraSettings = CassandraSettings()


class ListenSettings(_Section):
    """An address to listen on; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)


class LimitSettings(_Section):
    """What a device may send (promises of section 6)."""

    payload_bytes: int = Field(65_536, ge=1)
    keys_per_message: int = Field(256, ge=1)
    key_length: int = Field(255, ge=1)
    json_depth: int = Field(8, ge=1)


class SyncSettings(_Section):
    """The Cloud listens on ``listen``; an Edge dials ``address``."""

    listen: ListenSettings = ListenSettings(port=7070)
    address: str = Field("", description="host:port of the Cloud's sync, for an Edge")
    server_name: str = Field("", description="name in the Cloud's certificate, when not the host")
    ca_file: Path | None = Field(None, description="certificate authority that the Edge trusts")
    cert_file: Path | None = Field(None, description="the Cloud's certificate chain (PEM)")
    key_file: Path | None = Field(None, description="the Cloud's private key (PEM)")
    edge_key: str = Field("", description="routing key of this Edge")
    edge_secret_file: Path | None = Field(None, description="file with this Edge's secret")
    edges_file: Path | None = Field(None, description="the Cloud's list of edges (JSON)")
    batch_bytes: int = Field(262_144, ge=1024)
    in_flight: int = Field(8, ge=1, le=64, description="batches under way per lane")


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


class Settings(BaseSettings):
    """One site. Environment: EDGEFERRY_<NAME>, nested with double underscores."""

    model_config = SettingsConfigDict(
        env_prefix="EDGEFERRY_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    role: Literal["edge", "cloud"] = "edge"
    site: str = Field("edge", pattern=r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+)?$")
    data: Path = Field(Path("data"), description="folder that holds all local state")
    tenant_id: str = DEFAULT_TENANT_ID
    root_chain: str = Field("", description="name or file of the root chain; default by role")
    kafka: KafkaSettings = KafkaSettings()
    store: StoreSettings = StoreSettings()
    http: ListenSettings = ListenSettings(port=8080)
    mqtt: ListenSettings = ListenSettings(port=1883)
    sync: SyncSettings = SyncSettings()
    limits: LimitSettings = LimitSettings()
    api: ApiSettings = ApiSettings()
    devices_file: Path | None = Field(None, description="devices and tokens (JSON)")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load_settings(file: Path | None) -> Settings:
    """Settings from a YAML (or JSON) file; the environment wins over the file.

    Raises InvalidSettings with every problem and its path."""
    if file is not None and not file.is_file():
        raise InvalidSettings(f"settings file {file} does not exist")

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file))

    try:
        return FromFile()
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
            for problem in error.errors()
        ]
    except yaml.YAMLError as error:
        problems = [f"not YAML: {error}"]
    except (ValueError, TypeError):
        problems = ["the file must hold names with values, such as `role: edge`"]
    where = f"settings file {file}" if file is not None else "settings from the environment"
    raise InvalidSettings("\n".join([f"{where} cannot be used:", *problems]))
