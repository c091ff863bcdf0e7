"""Sends the originator, a device, a command, and passes its answer on (semantics 6.4).

The body has ``method`` and ``params``. Options stand in the metadata, or in the body:
``oneway``, ``persistent``, ``expirationTime`` (ms), ``retries``, ``requestUUID``. The message
is kept with the command, not here: nothing waits in this node, and whatever stops or starts
meanwhile, the outcome comes once as a message of its own. A persistent command is answered at
once with its ``rpcId``, a one-way one when the device has it. A repeated message is the same
command, which the device does not get twice.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from edgeferry.core.body import parsed
from edgeferry.core.device_call import read_outcome
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import (
    ERROR_KEY,
    FAILURE,
    SUCCESS,
    DeviceCall,
    Leaving,
    NodeSpec,
    Output,
    failure,
)

TIMEOUT_MAX_SECONDS: Final = 30 * 86_400
_NUMBER_DIGITS: Final = 15


@dataclass(frozen=True, slots=True)
class Config:
    """How long the answer is waited for, where the message has no ``expirationTime``."""

    timeout_in_seconds: int = 60

    def validate(self) -> Iterable[str]:
        if not 1 <= self.timeout_in_seconds <= TIMEOUT_MAX_SECONDS:
            yield f"timeout_in_seconds: expected 1 to {TIMEOUT_MAX_SECONDS}"


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    try:
        if message.type == MessageType.RPC_OUTCOME:
            return (_outcome(message),)
        return (_call(message, config),)
    except InvalidPayload as error:
        return (failure(message, str(error)),)


def _outcome(message: RuleMessage) -> Output:
    found = read_outcome(message)
    if not found.error:
        return Output(SUCCESS, message.with_(type=found.type, data=found.answer))
    data = json.dumps({"error": found.error})
    metadata = {**message.metadata, ERROR_KEY: found.error}
    return Output(FAILURE, message.with_(type=found.type, data=data, metadata=metadata))


def _call(message: RuleMessage, config: Config) -> DeviceCall:
    """Raises InvalidPayload."""
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
    request: dict[str, Any] = {
        "method": method,
        "params": body["params"],
        "oneway": _flag(given, "oneway"),
        "persisted": _flag(given, "persistent"),
        "retries": _number(given, "retries"),
        "additionalInfo": body.get("additionalInfo"),
        "expirationTime": _number(given, "expirationTime"),
        "timeout": config.timeout_in_seconds * 1000,
    }
    return DeviceCall(_rpc_id(given), request, message)


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


NODE = NodeSpec(
    type="rpc_call_request",
    summary="Sends the device a command; its answer leaves by Success, no answer by Failure.",
    config=Config,
    process=process,
)
