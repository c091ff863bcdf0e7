"""Wishes to change what is known of an entity: attributes, the entity itself, commands.

All of one entity stand in one partition of ``<site>.attribute-changes``, so one owner
decides them in one order: a change, an assignment and the snapshot of that assignment
cannot pass each other. Published first, applied by the attributes service, then answered.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from edgeferry.core.errors import Later
from edgeferry.core.kv import Scope, Value


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """versions: of the keys that have one already, as those from the other site; the service
    gives the others theirs. origin: site id of who decided. created_time: of the data (ms)."""

    id: str
    tenant_id: str
    entity_type: str
    entity_id: str
    scope: Scope
    origin: str
    created_time: int
    upserts: Mapping[str, Value] = field(default_factory=dict)
    deletes: Sequence[str] = ()
    versions: Mapping[str, int] = field(default_factory=dict)


class EntityAction(StrEnum):
    SAVED = "SAVED"
    DELETED = "DELETED"
    CREDENTIALS = "CREDENTIALS"
    ASSIGNED = "ASSIGNED_TO_EDGE"
    UNASSIGNED = "UNASSIGNED_FROM_EDGE"
    SNAPSHOT = "SNAPSHOT"
    """Send the edge all of the entity again; at an Edge: the Cloud what was decided here, or all
    that stands here (``WHOLE_SNAPSHOT``)."""


WHOLE_SNAPSHOT: Final = json.dumps({"whole": True})
"""The body of a SNAPSHOT at an Edge that is of all, whoever decided it."""


@dataclass(frozen=True, slots=True)
class EntityChange:
    """body: JSON text of the entity or its credentials. edge_id: of assignments, snapshots.
    version: 0 where it is to be given."""

    id: str
    tenant_id: str
    entity_type: str
    entity_id: str
    action: EntityAction
    origin: str
    created_time: int
    edge_id: str = ""
    body: str = ""
    version: int = 0


class RpcStatus(StrEnum):
    """States of a command; the names are an interface (semantics of the field, 7.4)."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    SUCCESSFUL = "SUCCESSFUL"
    TIMEOUT = "TIMEOUT"
    EXPIRED = "EXPIRED"
    FAILED = "FAILED"
    DELETED = "DELETED"


RPC_RANKS: Final[Mapping[RpcStatus, int]] = {
    RpcStatus.QUEUED: 0,
    RpcStatus.SENT: 1,
    RpcStatus.DELIVERED: 2,
    RpcStatus.TIMEOUT: 3,
    RpcStatus.EXPIRED: 4,
    RpcStatus.FAILED: 5,
    RpcStatus.SUCCESSFUL: 6,
    RpcStatus.DELETED: 7,
}
"""A state never gives way to one of a lower or equal rank: repeats and late news change
nothing, and two sites that tell each other all states end with the same one. (An answer that
another site hears of after the time is over is kept: the command was executed.)"""

RPC_OPEN: Final = (RpcStatus.QUEUED, RpcStatus.SENT, RpcStatus.DELIVERED)
"""What such a command becomes when its time is over: EXPIRED."""


_EXPIRED: Final[Mapping[RpcStatus, str]] = {
    RpcStatus.QUEUED: "its time was over before it was sent to the device",
    RpcStatus.SENT: "it was sent, and the device did not confirm it in time: it may have been "
    "carried out",
    RpcStatus.DELIVERED: "the device has it, and did not answer in time",
}


def expired_body(status: RpcStatus) -> str:
    """The error of a command that expires in an open state (JSON text)."""
    return json.dumps({"error": _EXPIRED[status]})


def rises(standing: RpcStatus, told: str, status: RpcStatus, body: str) -> bool:
    """Whether a command takes a state; ``told``, ``body``: the texts of both. SENT gives way
    to a later attempt to send."""
    if standing is status is RpcStatus.SENT:
        return attempt_of(body) > attempt_of(told)
    return RPC_RANKS[status] > RPC_RANKS[standing]


def attempt_body(attempt: int) -> str:
    """Of the change to SENT, from 1."""
    return json.dumps({"attempt": attempt}) if attempt > 1 else ""


def attempt_of(body: str) -> int:
    """Of a command that is SENT; what says nothing is the first."""
    attempt = _member(body, "attempt")
    return attempt if attempt > 0 else 1


def expiry_of(request: str) -> int:
    """When the time of a command is over (ms), 0: never. ``request``: its JSON text."""
    return _member(request, "expirationTime")


def _member(text: str, name: str) -> int:
    """A positive whole number; 0 where there is none."""
    try:
        document = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return 0
    value = document.get(name) if isinstance(document, dict) else None
    return value if type(value) is int and 0 < value < 2**53 else 0


@dataclass(frozen=True, slots=True)
class RpcChange:
    """body: JSON text; of QUEUED the request, else the response or the error."""

    id: str
    tenant_id: str
    device_id: str
    rpc_id: str
    status: RpcStatus
    origin: str
    created_time: int
    body: str = ""


Change = AttributeChange | EntityChange | RpcChange


class NotAppliedYet(Later):
    """The change is durable and will be applied, but was not within the given time."""


News = Callable[[float], Awaitable[None]]
"""Waits until something may have changed, so many seconds at most; with 0 it gives up."""


class Changes(Protocol):
    """How API, gateway, nodes and sync change anything."""

    async def submit(self, changes: Sequence[Change]) -> None:
        """Return when all are applied: a read after this sees them.

        Raises LogUnavailable (nothing is promised), NotAppliedYet (durable), RecordTooLarge,
        and when all are decided ChangeRefused, EntityGone for those that changed nothing."""
        ...

    def news_of(self, device_id: str, rpc_id: str) -> "News":
        """To be asked for before a look at a command, for the time until the next look."""
        ...


VERSION_MAX: Final = 2**62
"""Above it there would soon be no greater version."""

CLOUD_ORIGIN: Final = "cloud"
_EDGE_ORIGIN: Final = "edge:"


def edge_origin(edge_id: str) -> str:
    """The site id of an edge, as it stands in ``origin``."""
    return _EDGE_ORIGIN + edge_id


def edge_of(origin: str) -> str:
    """The edge that an origin names; empty for the Cloud."""
    return origin.removeprefix(_EDGE_ORIGIN) if origin.startswith(_EDGE_ORIGIN) else ""
