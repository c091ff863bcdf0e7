"""Stores attributes that an originator posted (semantics 4 and 6.4).

Takes POST_ATTRIBUTES_REQUEST only. Metadata ``scope`` goes before the option. The version
of a value is the message's stamp, so that of two writes the later one stays whatever the
order of arrival; its time is that of the data, not of the save.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeferry.core.body import attribute_scope, attributes, data_ts
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope
from edgeferry.core.message import RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import (
    SUCCESS,
    AttributesPort,
    AttributesWrite,
    Leaving,
    NodeSpec,
    Output,
    failure,
)


@dataclass(frozen=True, slots=True)
class Config:
    scope: Scope = Scope.SERVER

    def validate(self) -> Iterable[str]:
        return ()


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, port: AttributesPort
) -> list[Iterable[Leaving]]:
    """Raises what the port raises. A body without any value is a success."""
    writes: list[AttributesWrite] = []
    results: list[Iterable[Leaving]] = []
    for message in messages:
        try:
            write = _write(message, config)
        except InvalidPayload as error:
            results.append((failure(message, str(error)),))
        else:
            results.append((Output(SUCCESS, message),))
            if write.values:
                writes.append(write)
    if writes:
        await port.save(writes)
    return results


def _write(message: RuleMessage, config: Config) -> AttributesWrite:
    """Raises InvalidPayload."""
    if message.type != MessageType.POST_ATTRIBUTES_REQUEST:
        raise InvalidPayload(f"Unsupported msg type {message.type}")
    return AttributesWrite(
        entity_type=message.entity_type,
        entity_id=message.entity_id,
        scope=attribute_scope(message, config.scope),
        values=attributes(message),
        last_update_ts=data_ts(message),
        version=message.stamp,
    )


NODE = NodeSpec(
    type="save_attributes",
    summary="Stores the attributes of a message in a scope.",
    config=Config,
    process_batch=process_batch,
    port="attributes",
)
