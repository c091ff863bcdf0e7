"""The command that a rule node sends a device: what a message wants, where its outcome goes,
and what that says.

The address stands in the command's kept request, so nothing has to be remembered by the node:
whoever ends the command, the owner of commands writes the outcome into the node's own topic.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

from edgeferry.core.body import parsed
from edgeferry.core.changes import RPC_RANKS, RpcStatus
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.ids import derived_id
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType

REPLY_TO: Final = "replyTo"
TIMED_OUT: Final = "TIMEOUT"
_NUMBER_DIGITS: Final = 15
_TOO_LATE: Final = (RpcStatus.TIMEOUT, RpcStatus.EXPIRED)


class WantedCommand(NamedTuple):
    """``rpc_id``: empty where the message gives none. ``request``: of an ``RpcChange``."""

    rpc_id: str
    request: Mapping[str, Any]


def wanted_command(message: RuleMessage, timeout_ms: int) -> WantedCommand:
    """The command in a message's body, its options in the metadata or the body.
    ``timeout_ms``: where neither has an ``expirationTime``. Raises InvalidPayload."""
    if message.entity_type != EntityType.DEVICE:
        raise InvalidPayload("a command goes to a device: the originator is none")
    body = parsed(message)
    if not isinstance(body, dict):
        raise InvalidPayload("a command is a JSON object with method and params")
    method = body.get("method")
    if not isinstance(method, str) or not method:
        raise InvalidPayload("the command has no method")
    if "params" not in body:
        raise InvalidPayload("the command has no params")
    given = {**body, **message.metadata}
    request = {
        "method": method,
        "params": body["params"],
        "oneway": _flag(given, "oneway"),
        "persisted": _flag(given, "persistent"),
        "retries": _number(given, "retries"),
        "additionalInfo": body.get("additionalInfo"),
        "expirationTime": _number(given, "expirationTime"),
        "timeout": timeout_ms,
    }
    return WantedCommand(_rpc_id(given), request)


def _flag(given: Mapping[str, Any], name: str) -> bool:
    """As the field reads it: "true" in any spelling, and nothing else."""
    return str(given.get(name, "")).lower() == "true"


def _number(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value in (None, ""):
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS):
        raise InvalidPayload(f"{name}: a whole number that is not negative is wanted")
    return int(text)


def _rpc_id(given: Mapping[str, Any]) -> str:
    value = given.get("requestUUID")
    if value in (None, ""):
        return ""
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise InvalidPayload("requestUUID: a UUID is wanted") from None


def with_address(request: Mapping[str, Any], topic: str, message: RuleMessage) -> dict[str, Any]:
    """The request of a command with the address of its outcome: ``topic``, and what the
    message was, its body excepted."""
    address = {
        "topic": topic,
        "id": message.id,
        "stack": message.stack,
        "type": message.type,
        "metadata": dict(message.metadata),
    }
    return {**request, REPLY_TO: address}


class Address(NamedTuple):
    """Where an outcome goes. ``message_id``: of the message that wished the command."""

    topic: str
    message_id: str
    stack: list[str]
    type: str
    metadata: Mapping[str, str]


def address_of(request: Mapping[str, Any]) -> Address | None:
    """None: nobody waits for the outcome."""
    told = request.get(REPLY_TO)
    if not isinstance(told, dict):
        return None
    return Address(told["topic"], told["id"], told["stack"], told["type"], told["metadata"])


def ends_call(request: Mapping[str, Any], status: RpcStatus) -> bool:
    """Whether the node that sent the command waits for no more than this state: a one-way one
    is through when the device has it."""
    enough = RpcStatus.DELIVERED if request.get("oneway") is True else RpcStatus.TIMEOUT
    return RPC_RANKS[status] >= RPC_RANKS[enough]


def outcome(status: RpcStatus, oneway: bool, answer: str) -> dict[str, str]:
    """``answer`` or ``error``: what an outcome says. ``answer``: JSON text of the device's
    response, or of the error."""
    if status in _TOO_LATE:
        return {"error": TIMED_OUT}
    if status in (RpcStatus.FAILED, RpcStatus.DELETED):
        return {"error": _error(answer) or status.value}
    return {"answer": "{}" if oneway or not answer else answer}


def _error(answer: str) -> str:
    try:
        told = json.loads(answer)
    except ValueError:
        return answer
    error = told.get("error") if isinstance(told, dict) else told
    return error if isinstance(error, str) else answer


class About(NamedTuple):
    """Of the command: tenant, device's type and id, when it came to this state (ms)."""

    tenant_id: str
    entity_type: str
    entity_id: str
    ts: int


def outcome_message(to: Address, about: About, said: Mapping[str, str]) -> RuleMessage:
    """One command and message have one outcome: its id is always the same."""
    return RuleMessage(
        derived_id(to.message_id, to.topic, 1),
        about.tenant_id,
        about.ts,
        about.ts * MICROS_PER_MS,
        to.stack,
        MessageType.RPC_OUTCOME,
        about.entity_type,
        about.entity_id,
        to.metadata,
        DataType.JSON,
        json.dumps({**said, "type": to.type}),
    )


class Outcome(NamedTuple):
    """``error`` empty: ``answer`` is the JSON text of what the device answered. ``type``: of
    the message that wished the command."""

    type: str
    answer: str
    error: str


def read_outcome(message: RuleMessage) -> Outcome:
    """Raises InvalidPayload."""
    try:
        told = message.json
        if isinstance(told, dict):
            found = Outcome(told["type"], told.get("answer", ""), told.get("error", ""))
            if all(isinstance(text, str) for text in found) and (found.answer or found.error):
                return found
    except (ValueError, KeyError, RecursionError):
        pass
    raise InvalidPayload("the message says not what became of a command")
