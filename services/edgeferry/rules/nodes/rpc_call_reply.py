"""Answers a call of a device (TO_SERVER_RPC_REQUEST) with the body of a message.

Which call is answered stands in the metadata that the gateway gave the call; the options name
its keys. The answer goes to the session that called, and nowhere when that has gone. A call
that came up from an edge, by metadata ``edgeId``, is answered down there.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgeferry.core.events import EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import SUCCESS, Emit, Leaving, NodeSpec, Output, failure
from edgeferry.core.push import Body, event_of

NAME: Final = "rpc_call_reply"
EDGE_ID: Final = "edgeId"
_LONGEST_ID: Final = 10


@dataclass(frozen=True, slots=True)
class Config:
    """Keys of the metadata that say whose call it was."""

    service_id: str = "serviceId"
    session_id: str = "sessionId"
    request_id: str = "requestId"

    def validate(self) -> Iterable[str]:
        for name in ("service_id", "session_id", "request_id"):
            if not getattr(self, name).strip():
                yield f"{name}: name a key of the metadata"


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    if message.entity_type != EntityType.DEVICE:
        return (failure(message, "only a device calls: the originator is none"),)
    wanted = {
        "serviceId": config.service_id,
        "sessionId": config.session_id,
        "requestId": config.request_id,
    }
    address = {name: message.metadata.get(key, "") for name, key in wanted.items()}
    missing = [wanted[name] for name, value in address.items() if not value]
    if missing:
        return (failure(message, f"the metadata has no {', '.join(missing)}"),)
    number = address["requestId"]
    if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID):
        return (failure(message, f"metadata {config.request_id} is no number of a call"),)
    if not message.data:
        return (failure(message, "the message has no body to answer with"),)
    edge_id = message.metadata.get(EDGE_ID)
    answer = _to_edge(message, edge_id, address) if edge_id else _to_session(message, address)
    return (answer, Output(SUCCESS, message))


def _to_session(message: RuleMessage, address: Mapping[str, str]) -> Emit:
    answer = RuleMessage(
        derived_id(message.id, NAME, 0),
        message.tenant_id,
        message.ts,
        message.stamp,
        [],
        MessageType.TO_SERVER_RPC_RESPONSE,
        message.entity_type,
        message.entity_id,
        address,
        message.data_type,
        message.data,
    )
    return Emit("device-commands", answer)


def _to_edge(message: RuleMessage, edge_id: str, address: Mapping[str, str]) -> Emit:
    body = Body("RPC_CALL", rpc=json.dumps({**address, "response": message.data}))
    event = event_of(message, body, f"{NAME} {edge_id}")
    return Emit("edge-events", EdgeEvent(edge_id=edge_id, uid=event.id, event=event))


NODE = NodeSpec(
    type=NAME,
    summary="Answers a call of a device with the body of the message.",
    config=Config,
    process=process,
)
