"""Commands as the site's store keeps them, for the gateway."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import orjson

from edgeferry.core.changes import (
    RPC_OPEN,
    Changes,
    NotAppliedYet,
    RpcChange,
    RpcStatus,
    attempt_body,
    attempt_of,
)
from edgeferry.core.clock import Clock
from edgeferry.core.errors import ChangeRefused
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Rpc, RpcStore
from edgeferry.gateway.ports import Command

_MOST: Final = 1_000
_POLL_SECONDS: Final = 0.2


class KeptCommands:
    """``ports.Commands``."""

    def __init__(
        self, *, rpcs: RpcStore, changes: Changes, tenant_id: str, origin: str, clock: Clock
    ) -> None:
        """``origin``: site id of who decides here."""
        self._rpcs = rpcs
        self._changes = changes
        self._tenant_id = tenant_id
        self._origin = origin
        self._clock = clock

    async def pending(self, device_id: str) -> Sequence[Command]:
        """Raises StoreUnavailable."""
        found = [*await self._of(device_id, RpcStatus.SENT), *await self._rpcs.pending(device_id)]
        return [_command(rpc) for rpc in sorted(found, key=lambda rpc: rpc.created_time)]

    async def unanswered(self, device_id: str) -> Sequence[Command]:
        """Raises StoreUnavailable."""
        found = [
            rpc
            for status in (RpcStatus.SENT, RpcStatus.DELIVERED)
            for rpc in await self._of(device_id, status)
        ]
        return [_command(rpc) for rpc in found]

    async def claim(self, device_id: str, command: Command) -> bool:
        """The owner of commands decides, in the order of the log: of several who would send a
        command, also a process that was killed meanwhile, the first one may.

        Raises StoreUnavailable, LogUnavailable, RecordTooLarge."""
        wish = self._sent(device_id, command)
        with suppress(NotAppliedYet, ChangeRefused):  # what stands of it says more
            await self._changes.submit([wish])
        while True:
            rpc = await self._rpcs.get(wish.rpc_id)
            if rpc is None or rpc.event_id == wish.id:
                return rpc is not None
            waits = rpc.status is RpcStatus.QUEUED
            again = rpc.status is RpcStatus.SENT and attempt_of(rpc.answer) < attempt_of(wish.body)
            if not (waits or again):
                return False
            await asyncio.sleep(_POLL_SECONDS)

    def _sent(self, device_id: str, command: Command) -> RpcChange:
        return RpcChange(
            id=new_entity_id(),
            tenant_id=self._tenant_id,
            device_id=device_id,
            rpc_id=command.rpc_id,
            status=RpcStatus.SENT,
            origin=self._origin,
            created_time=self._clock.now_ms(),
            body=attempt_body(command.attempts + 1),
        )

    async def _of(self, device_id: str, status: RpcStatus) -> Sequence[Rpc]:
        assert status in RPC_OPEN
        found, _ = await self._rpcs.page(device_id, status, _MOST, 0)
        return found


def _command(rpc: Rpc) -> Command:
    request = json.loads(rpc.request or "{}")
    retries = request.get("retries")
    return Command(
        rpc_id=rpc.rpc_id,
        method=str(request.get("method")),
        params=orjson.dumps(request.get("params")).decode(),
        expires_ms=int(request.get("expirationTime") or 0),
        oneway=request.get("oneway") is True,
        retries=retries if type(retries) is int else 0,
        attempts=attempt_of(rpc.answer) if rpc.status is RpcStatus.SENT else 0,
    )
