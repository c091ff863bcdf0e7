"""Deletes attributes of the originator, as ThingsBoard's node "delete attributes" does.

Whatever the message is: the keys are the node's, with ``${metadata key}`` and ``$[body field]``
from the message. Metadata ``scope`` goes before the option. Keys that do not stand are passed
over. What is deleted is told as any other change is: to the root chain as ATTRIBUTES_DELETED,
to the device when it is of SHARED_SCOPE, and to the other site (requirement 8).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeferry.core.body import attribute_scope
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import (
    SUCCESS,
    AttributeDeletesPort,
    AttributesDelete,
    Leaving,
    NodeSpec,
    Output,
    failure,
)
from edgeferry.core.template import Template


@dataclass(frozen=True, slots=True)
class Config:
    keys: tuple[Template, ...]
    scope: Scope = Scope.SERVER

    def validate(self) -> Iterable[str]:
        if not self.keys:
            yield "keys: name at least one"


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, port: AttributeDeletesPort
) -> list[Iterable[Leaving]]:
    """Raises what the port raises. No key with a name is a success."""
    deletes: list[AttributesDelete] = []
    results: list[Iterable[Leaving]] = []
    for message in messages:
        try:
            wanted = _delete(message, config)
        except InvalidPayload as error:
            results.append((failure(message, str(error)),))
        else:
            results.append((Output(SUCCESS, message),))
            if wanted.keys:
                deletes.append(wanted)
    if deletes:
        await port.delete_attributes(deletes)
    return results


def _delete(message: RuleMessage, config: Config) -> AttributesDelete:
    """Raises InvalidPayload."""
    rendered = dict.fromkeys(key.render(message) for key in config.keys)
    keys = [key for key in rendered if key.strip()]
    try:
        "".join(keys).encode()
    except UnicodeEncodeError:
        raise InvalidPayload("half a character in the name of a key") from None
    return AttributesDelete(
        id=message.id,
        entity_type=message.entity_type,
        entity_id=message.entity_id,
        scope=attribute_scope(message, config.scope),
        keys=keys,
        ts=message.ts,
    )


NODE = NodeSpec(
    type="delete_attributes",
    summary="Deletes attributes of the originator by their keys.",
    config=Config,
    process_batch=process_batch,
    port="attribute_deletes",
)
