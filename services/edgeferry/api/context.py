"""What the REST interface needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edgeferry.api.auth import Auth
from edgeferry.core.changes import CLOUD_ORIGIN, Changes
from edgeferry.core.clock import Clock, Stamps
from edgeferry.core.record import LogReader, LogWriter
from edgeferry.core.store import Store
from edgeferry.core.values import PayloadLimits


class AdmittedEdge(NamedTuple):
    """``secret``: only of one that was just made; it is kept nowhere."""

    id: str
    name: str
    key: str
    secret: str = ""


class AdmittedEdges(Protocol):
    """The edges that may connect. All raise InvalidSettings."""

    def all(self) -> Sequence[AdmittedEdge]: ...

    def add(self, name: str, key: str = "", secret: str = "") -> AdmittedEdge:
        """Key and secret are made where none is given."""
        ...

    def has_secret(self, key: str, secret: str) -> bool: ...

    def remove(self, name: str) -> None: ...

    def take_back(self, name: str) -> None:
        """As if it had not been added: it may be, with the same key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What it takes to change anything. origin: site id of who decides here."""

    site: str
    tenant_id: str
    origin: str = CLOUD_ORIGIN
    changes: Changes
    writer: LogWriter
    stamps: Stamps
    limits: PayloadLimits
    edges: AdmittedEdges | None = None


@dataclass(frozen=True, slots=True)
class ApiContext:
    """topics: topic name -> record type (``log.topics.TopicSettings``), for the schema
    registry's subjects. read_token: opens the registry to programs on other machines. reader:
    of an Edge's log, whose events for the Cloud are shown."""

    store: Store
    auth: Auth
    clock: Clock
    writing: Writing
    topics: Mapping[str, str] = field(default_factory=dict)
    read_token: str = ""
    reader: LogReader | None = None
