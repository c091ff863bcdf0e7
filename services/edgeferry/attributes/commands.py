"""Commands to devices: kept, their states raised, and what follows from each.

A command executes once: one that is known is not made again, and its state only rises.
"""

import json
from dataclasses import replace
from typing import Any

from edgeferry.attributes.device_calls import Outcomes, asked, for_others, made_here
from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.fanout import MAKER, names
from edgeferry.core.changes import RPC_RANKS, RpcChange, RpcStatus
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.errors import InvalidPayload, Refused
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.store import Rpc, RpcNews, RpcStore, Told

RPC_CALL = "RPC_CALL"


class NotTheDevices(Refused):
    """Nobody acts: somebody tells of what is another device's."""


class Commands:
    """Applies ``RpcChange``s to the store."""

    def __init__(self, *, here: Here, store: RpcStore, outcomes: Outcomes) -> None:
        self._here = here
        self._store = store
        self._outcomes = outcomes

    async def apply(self, change: RpcChange, facts: Facts, now_ms: int, out: Consequences) -> None:
        """Raises StoreUnavailable, InvalidPayload, NotTheDevices."""
        document = _document(change.body)
        if change.status is RpcStatus.QUEUED:
            change = asked(change, document, self._here, now_ms)
        stands = await self._stand(change, now_ms)
        if stands is None:
            return
        before, rpc = stands
        _check_device(rpc, change)
        request = _document(rpc.request)
        if rpc.event_id != change.id:  # a repeat of something older, or news that come too late
            if change.status is RpcStatus.QUEUED and change.origin == self._here.origin:
                self._outcomes.refuse(change, _document(change.body), request, out)
            return
        ended = before if change.status in _MAY_END_A_CALL else None
        self._outcomes.tell(ended, change, request, rpc.answer, out)
        if change.status is RpcStatus.QUEUED:
            self._deliver(replace(change, body=json.dumps(for_others(request))), facts, out)
        elif self._here.edge_id and change.origin == self._here.origin:
            if not made_here(request):
                out.cloud_events.append(self._event(change, facts, self._here.edge_id))
        elif not self._here.edge_id and change.status in _ENDED_HERE:
            for edge_id in facts.edges[:1]:
                event = self._event(change, facts, edge_id)
                out.edge_events.append(EdgeEvent(edge_id, event.id, event))
        if request.get("persisted", request.get("persistent")) is True:
            told = {**for_others(request), "status": change.status, "response": rpc.answer}
            type_ = f"RPC_{change.status}"
            out.root.append(self._message(change, facts, type_, json.dumps(told), 0))

    async def _stand(self, change: RpcChange, now_ms: int) -> Told | None:
        """The command before and after the change; its ``event_id`` is the change's when it
        counted. None: the Cloud ends one that never came to this edge."""
        if change.status is RpcStatus.QUEUED:
            return await self._made(change, now_ms)
        news = RpcNews(
            change.rpc_id, change.device_id, change.status, change.body, now_ms, change.id
        )
        stands = await self._store.advance(news)
        if stands is None and (
            change.origin == self._here.origin or change.status not in _ENDED_HERE
        ):
            raise InvalidPayload(f"no command {change.rpc_id} is known here")
        return stands

    async def _made(self, change: RpcChange, now_ms: int) -> Told:
        made = Rpc(
            rpc_id=change.rpc_id,
            tenant_id=change.tenant_id,
            device_id=change.device_id,
            status=RpcStatus.QUEUED,
            request=change.body,
            answer="",
            created_time=change.created_time,
            updated_ms=now_ms,
            event_id=change.id,
        )
        if await self._store.create(made):
            return Told(made, made)
        stands = await self._store.get(change.rpc_id) or made
        return Told(stands, stands)

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


_MAY_END_A_CALL = tuple(
    status for status, rank in RPC_RANKS.items() if rank >= RPC_RANKS[RpcStatus.DELIVERED]
)
_ENDED_HERE = (RpcStatus.DELETED, RpcStatus.EXPIRED)
"""What the Cloud tells an edge that has the command."""


def _check_device(rpc: Rpc, change: RpcChange) -> None:
    """Raises NotTheDevices."""
    if rpc.device_id != change.device_id:
        raise NotTheDevices(
            f"command {change.rpc_id} is another device's: a device, and its edge, tell of their "
            "own commands alone"
        )


def _document(text: str) -> Any:
    """The body as an object; a response that is none stands under ``value``."""
    if not text:
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"the body of a command is not JSON: {error}") from None
    return document if isinstance(document, dict) else {"value": document}
