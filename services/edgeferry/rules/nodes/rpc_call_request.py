"""Sends the originator, a device, a command, and passes its answer on (semantics 6.4).

The body has ``method`` and ``params``. Options stand in the metadata, or in the body:
``oneway``, ``persistent``, ``expirationTime`` (ms), ``retries``, ``requestUUID``. The message
is kept with the command, not here: nothing waits in this node, and whatever stops or starts
meanwhile, the outcome comes once as a message of its own. A persistent command is answered at
once with its ``rpcId``, a one-way one when the device has it. A repeated message is the same
command, which the device does not get twice.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgeferry.core.device_call import read_outcome, wanted_command
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.message import RuleMessage
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
        wanted = wanted_command(message, config.timeout_in_seconds * 1000)
    except InvalidPayload as error:
        return (failure(message, str(error)),)
    return (DeviceCall(wanted.rpc_id, wanted.request, message),)


def _outcome(message: RuleMessage) -> Output:
    found = read_outcome(message)
    if not found.error:
        return Output(SUCCESS, message.with_(type=found.type, data=found.answer))
    data = json.dumps({"error": found.error})
    metadata = {**message.metadata, ERROR_KEY: found.error}
    return Output(FAILURE, message.with_(type=found.type, data=data, metadata=metadata))


NODE = NodeSpec(
    type="rpc_call_request",
    summary="Sends the device a command; its answer leaves by Success, no answer by Failure.",
    config=Config,
    process=process,
)
