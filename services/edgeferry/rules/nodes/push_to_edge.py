"""Makes an Edge Event of a message for every related edge (requirement 7).

What it makes is in ``core.push``. Related: the edge itself, else those that the port names
(semantics 1.3). A message that came from an edge goes no further by this node, as one
without a related edge: no relation is followed, which is counted. A command of a device is
for the Cloud itself and is refused.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.events import EdgeEvent
from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.message_type import MessageType as T
from edgeferry.core.node import (
    SUCCESS,
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
    pushed: list[tuple[int, RuleMessage, Body]] = []
    for message in messages:
        left, body = _body(message, config)
        if body is not None:
            pushed.append((len(leaving), message, body))
        leaving.append(left)
    asked = [
        (message.entity_type, message.entity_id)
        for _, message, _ in pushed
        if message.entity_type != EntityType.EDGE
    ]
    found = dict(zip(asked, await edges.related(asked), strict=True)) if asked else {}
    for at, message, body in pushed:
        own = (message.entity_id,)
        leaving[at] = _events(
            message, body, found.get((message.entity_type, message.entity_id), own)
        )
    return leaving


def _body(message: RuleMessage, config: Config) -> tuple[Iterable[Leaving], Body | None]:
    """What there is to push, or what leaves at once."""
    if message.metadata.get("source", "").lower() == "edge":
        return (End(FROM_EDGE),), None
    try:
        if message.type == T.TO_SERVER_RPC_REQUEST:
            raise InvalidPayload(f"Unsupported msg type {message.type}")
        body = body_of(message, config.scope)
    except InvalidPayload as error:
        return (failure(message, str(error)),), None
    if body is None:
        return (Output(SUCCESS, message),), None
    scoped = body.attributes or body.attribute_keys
    if scoped is not None and scoped.scope == Scope.CLIENT:
        return (failure(message, "attributes of CLIENT_SCOPE never go to an edge"),), None
    return (), body


def _events(message: RuleMessage, body: Body, edges: Sequence[str]) -> Iterable[Leaving]:
    if not edges:
        return (End(NO_EDGE),)
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
