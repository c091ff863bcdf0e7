"""Makes a Cloud Event of a message: the only way of telemetry up (requirements 1 to 3).

What it makes is in ``core.push``. A message that came from the Cloud goes no further by
this node: no relation is followed, which is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import SUCCESS, Emit, End, Leaving, NodeSpec, Output, failure
from edgeferry.core.push import body_of, event_of

NAME: Final = "push_to_cloud"
FROM_CLOUD: Final = "From the Cloud"


@dataclass(frozen=True, slots=True)
class Config:
    """``scope`` of attributes, where metadata ``scope`` names none."""

    scope: Scope = Scope.SERVER

    def validate(self) -> Iterable[str]:
        return ()


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    if message.metadata.get("source", "").lower() == "cloud":
        return (End(FROM_CLOUD),)
    try:
        body = body_of(message, config.scope)
    except InvalidPayload as error:
        return (failure(message, str(error)),)
    if body is None:
        return (Output(SUCCESS, message),)
    event = event_of(message, body, NAME + body.part)
    channel: Final = "cloud-events-ts" if body.telemetry else "cloud-events"
    return (Emit(channel, event), Output(SUCCESS, message))


NODE = NodeSpec(
    type=NAME,
    summary="Makes a Cloud Event of the message, for asynchronous delivery to the Cloud.",
    config=Config,
    process=process,
    side="edge",
)
