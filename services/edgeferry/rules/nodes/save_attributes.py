"""Stores attributes that an originator posted (semantics 4 and 6.4).

Takes POST_ATTRIBUTES_REQUEST only. Metadata ``scope`` goes before the option. The version
of a value is the message's stamp, so that of two writes the later one stays whatever the
order of arrival; its time is that of the data, not of the save. The message leaves with the
versions that its values have got, in metadata ``versions``; one that came over the link with
such keeps them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeferry.core.body import attribute_scope, attributes, data_ts, versions
from edgeferry.core.changes import CLOUD_ORIGIN, edge_origin
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
    saved: list[int] = []
    results: list[Iterable[Leaving]] = []
    for index, message in enumerate(messages):
        try:
            write = _write(message, config)
        except InvalidPayload as error:
            results.append((failure(message, str(error)),))
        else:
            results.append((Output(SUCCESS, message),))
            if write.values:
                writes.append(write)
                saved.append(index)
    for index, given in zip(saved, await port.save(writes) if writes else (), strict=True):
        results[index] = (Output(SUCCESS, _with_versions(messages[index], given)),)
    return results


def _with_versions(message: RuleMessage, given: Mapping[str, int]) -> RuleMessage:
    """Those of before were of what stood before."""
    metadata = {k: v for k, v in message.metadata.items() if k not in ("version", "versions")}
    if given:
        metadata["versions"] = json.dumps(given, ensure_ascii=False)
    return message.with_(metadata=metadata)


def _write(message: RuleMessage, config: Config) -> AttributesWrite:
    """Raises InvalidPayload."""
    if message.type != MessageType.POST_ATTRIBUTES_REQUEST:
        raise InvalidPayload(f"Unsupported msg type {message.type}")
    values, origin = attributes(message), _origin(message)
    return AttributesWrite(
        entity_type=message.entity_type,
        entity_id=message.entity_id,
        scope=attribute_scope(message, config.scope),
        values=values,
        last_update_ts=data_ts(message),
        version=message.stamp,
        origin=origin,
        versions=versions(message, values) if origin else {},
    )


def _origin(message: RuleMessage) -> str:
    """Of what came over the link, else empty."""
    source, edge_id = message.metadata.get("source", ""), message.metadata.get("edgeId", "")
    if source == "edge" and edge_id:
        return edge_origin(edge_id)
    return CLOUD_ORIGIN if source == "cloud" else ""


NODE = NodeSpec(
    type="save_attributes",
    summary="Stores the attributes of a message in a scope.",
    config=Config,
    process_batch=process_batch,
    port="attributes",
)
