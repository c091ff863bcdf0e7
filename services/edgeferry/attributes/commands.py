"""Commands to devices: kept, their states raised, and what follows from each.

A command executes once: one that is known is not made again, and its state only rises.
"""

import json
from typing import Any

from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.fanout import MAKER, names
from edgeferry.core.changes import RPC_RANKS, RpcChange, RpcStatus
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.store import Rpc, RpcStore

RPC_CALL = "RPC_CALL"


class Commands:
    """Applies ``RpcChange``s to the store."""

    def __init__(self, *, here: Here, store: RpcStore) -> None:
        self._here = here
        self._store = store

    async def apply(self, change: RpcChange, facts: Facts, now_ms: int, out: Consequences) -> None:
        """Raises StoreUnavailable, InvalidPayload."""
        _document(change.body)
        rpc = await self._stand(change, now_ms)
        if rpc is None or rpc.event_id != change.id:
            return  # a repeat of something older, or news that come too late
        if change.status is RpcStatus.QUEUED:
            self._deliver(change, facts, out)
        elif self._here.edge_id and change.origin == self._here.origin:
            out.cloud_events.append(self._event(change, facts, self._here.edge_id))
        elif not self._here.edge_id and change.status in _ENDED_HERE:
            for edge_id in facts.edges[:1]:
                event = self._event(change, facts, edge_id)
                out.edge_events.append(EdgeEvent(edge_id, event.id, event))
        request = _document(rpc.request)
        if request.get("persisted", request.get("persistent")) is True:
            data = json.dumps({**request, "status": change.status, "response": rpc.answer})
            out.root.append(self._message(change, facts, f"RPC_{change.status}", data, 0))

    async def _stand(self, change: RpcChange, now_ms: int) -> Rpc | None:
        """The command after the change; its ``event_id`` is the change's when it counted.
        None: the Cloud ends one that never came to this edge."""
        queued = change.status is RpcStatus.QUEUED
        made = Rpc(
            rpc_id=change.rpc_id,
            tenant_id=change.tenant_id,
            device_id=change.device_id,
            status=RpcStatus.QUEUED,
            request=change.body if queued else "",
            answer="",
            created_time=change.created_time,
            updated_ms=now_ms,
            event_id=change.id,
        )
        if queued:
            if await self._store.create(made):
                return made
            return await self._store.get(change.rpc_id) or made
        stands = await self._store.advance(
            change.rpc_id, change.status, change.body, now_ms, change.id
        )
        if stands is None and change.origin != self._here.origin and change.status in _ENDED_HERE:
            return None
        if stands is None:
            raise InvalidPayload(f"no command {change.rpc_id} is known here")
        return stands

    def _deliver(self, change: RpcChange, facts: Facts, out: Consequences) -> None:
        """To the edge of its device, else to the session here."""
        if facts.edges and not self._here.edge_id:
            event = self._event(change, facts, facts.edges[0])
            out.edge_events.append(EdgeEvent(facts.edges[0], event.id, event))
        else:
            type_ = MessageType.RPC_CALL_FROM_SERVER_TO_DEVICE
            out.commands.append(self._message(change, facts, type_, change.body, 1))

    def _message(
        self, change: RpcChange, facts: Facts, type_: str, data: str, index: int
    ) -> RuleMessage:
        told = _document(data)
        metadata = {
            "requestUUID": change.rpc_id,
            "expirationTime": str(told.get("expirationTime") or 0),
            "oneway": str(told.get("oneway") is True).lower(),
        } | names(EntityType.DEVICE, facts)
        if change.origin != self._here.origin:
            metadata["source"] = "cloud" if self._here.edge_id else "edge"
        return RuleMessage(
            derived_id(change.id, MAKER, index),
            change.tenant_id,
            change.created_time,
            change.created_time * MICROS_PER_MS,
            [],
            type_,
            EntityType.DEVICE,
            change.device_id,
            metadata,
            DataType.JSON,
            data,
        )

    def _event(self, change: RpcChange, facts: Facts, edge_id: str) -> CloudEvent:
        document = _document(change.body)
        if change.status is not RpcStatus.QUEUED:
            document = {"response": change.body} if change.body else {}
        rpc = {**document, "requestUUID": change.rpc_id, "status": change.status}
        return CloudEvent(
            id=derived_id(change.id, f"{MAKER}/{edge_id}", 2),
            created_time=change.created_time,
            stamp=change.created_time * MICROS_PER_MS + RPC_RANKS[change.status],
            tenant_id=change.tenant_id,
            action=RPC_CALL,
            type=EntityType.DEVICE,
            entity_type=EntityType.DEVICE,
            entity_id=change.device_id,
            entity_name=facts.name,
            entity_profile=facts.profile,
            rpc=json.dumps(rpc, ensure_ascii=False),
        )


_ENDED_HERE = (RpcStatus.DELETED, RpcStatus.EXPIRED)
"""What the Cloud tells an edge that has the command."""


def _document(text: str) -> Any:
    """The body as an object; a response that is none stands under ``value``."""
    if not text:
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body of a command is not JSON: {error}") from None
    return document if isinstance(document, dict) else {"value": document}
