"""Makes an Edge Event of a message for every related edge (requirement 7).

What it makes is in ``core.push``. Related: the edge itself, else those that the port names
(semantics 1.3). A message that came from an edge goes no further by this node, as one
without a related edge: no relation is followed, which is counted. A call of a device is
for the Cloud itself and is refused.

A command to a device goes to the owner of commands, who keeps it and makes the event for the
device's edge: what becomes of it is told as of any other, and one that is known by its
``requestUUID`` is not made a second time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.core.device_call import wanted_command
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.events import EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.message_type import MessageType as T
from edgeferry.core.node import (
    SUCCESS,
    DeviceCall,
    EdgesPort,
    Emit,
    End,
    Leaving,
    NodeSpec,
    Output,
    failure,
)
from edgeferry.core.push import Body, body_of, event_of

NAME: Final = "push_to_edge"
FROM_EDGE: Final = "From an edge"
NO_EDGE: Final = "No related edge"
COMMAND_MS: Final = 30 * 86_400_000
"""A command without an ``expirationTime`` waits as long as events do in the Edge queue."""


@dataclass(frozen=True, slots=True)
class Config:
    """``scope`` of attributes, where metadata ``scope`` names none: SERVER_SCOPE or
    SHARED_SCOPE. Those of CLIENT_SCOPE are a device's own and never go down."""

    scope: Scope = Scope.SERVER

    def validate(self) -> Iterable[str]:
        if self.scope == Scope.CLIENT:
            yield "scope: CLIENT_SCOPE never goes to an edge; choose SERVER_SCOPE or SHARED_SCOPE"


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, edges: EdgesPort
) -> Sequence[Iterable[Leaving]]:
    """Raises StoreUnavailable (Later)."""
    leaving: list[Iterable[Leaving]] = []
    pushed: list[tuple[int, RuleMessage, Body | DeviceCall]] = []
    for message in messages:
        left, wanted = _wanted(message, config)
        if wanted is not None:
            pushed.append((len(leaving), message, wanted))
        leaving.append(left)
    asked = [
        (message.entity_type, message.entity_id)
        for _, message, _ in pushed
        if message.entity_type != EntityType.EDGE
    ]
    found = dict(zip(asked, await edges.related(asked), strict=True)) if asked else {}
    for at, message, wanted in pushed:
        own = (message.entity_id,)
        edge_ids = found.get((message.entity_type, message.entity_id), own)
        if not edge_ids:
            leaving[at] = (End(NO_EDGE),)
        elif isinstance(wanted, Body):
            leaving[at] = _events(message, wanted, edge_ids)
        else:
            leaving[at] = (wanted, Output(SUCCESS, message))
    return leaving


def _wanted(
    message: RuleMessage, config: Config
) -> tuple[Iterable[Leaving], Body | DeviceCall | None]:
    """What there is to push, or what leaves at once."""
    if message.metadata.get("source", "").lower() == "edge":
        return (End(FROM_EDGE),), None
    try:
        if message.type == T.TO_SERVER_RPC_REQUEST:
            raise InvalidPayload(f"Unsupported msg type {message.type}")
        if message.type == T.RPC_CALL_FROM_SERVER_TO_DEVICE:
            return (), _command(message)
        body = body_of(message, config.scope)
    except InvalidPayload as error:
        return (failure(message, str(error)),), None
    if body is None:
        return (Output(SUCCESS, message),), None
    scoped = body.attributes or body.attribute_keys
    if scoped is not None and scoped.scope == Scope.CLIENT:
        return (failure(message, "attributes of CLIENT_SCOPE never go to an edge"),), None
    return (), body


def _command(message: RuleMessage) -> DeviceCall:
    """However many of these nodes a message passes, it is one command. Raises InvalidPayload."""
    wanted = wanted_command(message, COMMAND_MS)
    rpc_id = wanted.rpc_id or derived_id(message.id, NAME, 0)
    return DeviceCall(rpc_id, wanted.request, message, answered=False)


def _events(message: RuleMessage, body: Body, edges: Sequence[str]) -> Iterable[Leaving]:
    channel: Final = "edge-events-ts" if body.telemetry else "edge-events"
    leaving: list[Leaving] = []
    for edge_id in edges:
        event = event_of(message, body, f"{NAME}{body.part} {edge_id}")
        leaving.append(Emit(channel, EdgeEvent(edge_id=edge_id, uid=event.id, event=event)))
    leaving.append(Output(SUCCESS, message))
    return leaving


NODE = NodeSpec(
    type=NAME,
    summary="Makes an Edge Event of the message for each related edge, delivered in time.",
    config=Config,
    process_batch=process_batch,
    port="edges",
    side="cloud",
)
