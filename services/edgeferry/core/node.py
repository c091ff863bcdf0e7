"""The contract of a rule node.

A node is a pure function over one message, or an async function over a batch with a
port. It never sends, never acknowledges, never logs metrics and knows no topic: it
returns what should leave it, and the runner does the rest.
"""

import builtins
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.kv import Scope, Value
from edgeferry.core.message import RuleMessage

SUCCESS = "Success"
FAILURE = "Failure"
ERROR_KEY = "error"
"""Metadata key that carries the reason along a Failure relation."""


class Output(NamedTuple):
    """Leave by this relation. Pass the very message object on when nothing changed:
    the runner then forwards its bytes without encoding them again."""

    relation: str
    message: RuleMessage


class Emit(NamedTuple):
    """Append an event to one of the site's event logs, or a message to what goes down to its
    devices, in the same batch as the outputs."""

    channel: Literal[
        "cloud-events", "cloud-events-ts", "edge-events", "edge-events-ts", "device-commands"
    ]
    event: CloudEvent | EdgeEvent | RuleMessage
    """An EdgeEvent is keyed by its edge, a message by its device."""


class End(NamedTuple):
    """Leave by no relation, for a reason that the site counts."""

    reason: str


class Call(NamedTuple):
    """Into another chain. What that chain's output nodes return leaves the calling node by
    their names."""

    chain: str
    message: RuleMessage


class Return(NamedTuple):
    """Out of this chain, to the node that called it; the end, where none did."""

    message: RuleMessage


class DeviceCall(NamedTuple):
    """Send the message's device a command; its outcome comes to the same node as a message of
    type RPC_OUTCOME (``core.device_call``). ``rpc_id`` empty: derived from the message's id, so
    that a repeated message is no second command. ``request``: of an ``RpcChange``, may give
    ``timeout`` (ms) in place of ``expirationTime``. ``answered``: False where nobody waits for
    the outcome, which then comes to no node."""

    rpc_id: str
    request: Mapping[str, Any]
    message: RuleMessage
    answered: bool = True


Leaving = Output | Emit | End | Call | Return | DeviceCall


def failure(message: RuleMessage, reason: str) -> Output:
    """The message along ``Failure`` with the reason in metadata ``error``."""
    return Output(FAILURE, message.with_metadata(**{ERROR_KEY: reason}))


class TimeseriesWrite(NamedTuple):
    """The values of one message for the store. ``ttl`` in seconds, 0 for ever."""

    entity_type: str
    entity_id: str
    ts: int
    stamp: int
    values: Mapping[str, Value]
    ttl: int = 0
    history: bool = True
    latest: bool = True


class AttributesWrite(NamedTuple):
    """Attributes of one entity and scope; ``version`` decides who wins (greater stays).
    ``versions``: of the keys that have one already, given by ``origin``."""

    entity_type: str
    entity_id: str
    scope: Scope
    values: Mapping[str, Value]
    last_update_ts: int
    version: int
    origin: str = ""
    versions: Mapping[str, int] = MappingProxyType({})


class AttributesDelete(NamedTuple):
    """Keys of one entity and scope. ``id``: of the message that wants it, by which a repeat is
    known; ``ts``: when (ms)."""

    id: str
    entity_type: str
    entity_id: str
    scope: Scope
    keys: Sequence[str]
    ts: int


class TimeseriesPort(Protocol):
    async def save(self, writes: Sequence[TimeseriesWrite]) -> None:
        """Store all, in order; return when durable. Repeating it changes nothing.

        Raises StoreUnavailable (Later)."""
        ...


class AttributesPort(Protocol):
    async def save(self, writes: Sequence[AttributesWrite]) -> Sequence[Mapping[str, int]]:
        """Apply all, in order; return when durable, for each the versions of its values, as
        far as they are known. Raises StoreUnavailable (Later)."""
        ...


class AttributeDeletesPort(Protocol):
    async def delete_attributes(self, deletes: Sequence[AttributesDelete]) -> None:
        """Delete what stands of all, in order; return when it is durable. Repeating it changes
        nothing. Raises StoreUnavailable, LogUnavailable, NotAppliedYet (Later)."""
        ...


class EdgesPort(Protocol):
    async def related(self, entities: Sequence[tuple[str, str]]) -> Sequence[Sequence[str]]:
        """The ids of the edges that have to do with each (entity type, entity id): those a
        device or asset is assigned to, a customer's own, all of a tenant's.

        Raises StoreUnavailable (Later)."""
        ...


PortName = Literal["timeseries", "attributes", "attribute_deletes", "edges"]
C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What the registry holds of a node type. Exactly one of ``process`` (pure, one
    message) and ``process_batch`` (async, a batch in order, a port) is given;
    ``process_batch`` returns one iterable per message, in the order of the batch, and
    may raise Later, whereupon the same batch comes again.

    config: a frozen dataclass whose ``validate`` yields one line per problem, each starting
    with the option's path; the loader builds it from the chain file.
    relations: names that may leave besides Success and Failure, which all may use.
    side: where the node may stand. state: makes what the node instance remembers between
    messages from its config (only ``process_batch`` gets it, as last argument).
    by_type: maps a message type to the one relation it leaves by; the runner then routes
    by the record's ``type`` header and never decodes the body.
    calls: the chain that a config calls, for a node that leaves by ``Call``: its relations are
    the output nodes of that chain. returns: it leaves by ``Return``, so no wire begins there.
    """

    type: str
    summary: str
    config: builtins.type[Any]
    relations: tuple[str, ...] = ()
    process: Callable[[RuleMessage, Any], Iterable[Leaving]] | None = None
    process_batch: Callable[..., Awaitable[Sequence[Iterable[Leaving]]]] | None = None
    port: PortName | None = None
    state: Callable[[Any], Any] | None = None
    side: Literal["edge", "cloud", "both"] = "both"
    by_type: Callable[[str], str] | None = None
    calls: Callable[[Any], str] | None = None
    returns: bool = False
