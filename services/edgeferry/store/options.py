"""What the store wants to know of its settings; runtime.settings has the real ones."""

from pathlib import Path
from typing import Literal, Protocol

Consistency = Literal["LOCAL_QUORUM", "LOCAL_ONE"]
Partitioning = Literal["MINUTES", "HOURS", "DAYS", "MONTHS", "YEARS", "INDEFINITE"]


class CassandraOptions(Protocol):
    @property
    def contact_points(self) -> tuple[str, ...]:
        """host:port each."""
        ...

    @property
    def keyspace(self) -> str: ...

    @property
    def replication(self) -> int: ...

    @property
    def consistency(self) -> Consistency: ...

    @property
    def ts_partitioning(self) -> Partitioning: ...


class StoreOptions(Protocol):
    @property
    def kind(self) -> Literal["sqlite", "cassandra"]: ...

    @property
    def cassandra(self) -> CassandraOptions: ...

    @property
    def credentials_key_file(self) -> Path | None:
        """None: in the data folder."""
        ...
