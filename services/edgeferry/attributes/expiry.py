"""Ends commands whose time is over. Each site does so by its own clock, and tells the other:
a state has one rank everywhere, so both end with the same one."""

import asyncio
import logging
from typing import Final

from edgeferry.attributes.facts import Here
from edgeferry.core.changes import Changes, RpcChange, RpcStatus, expired_body
from edgeferry.core.clock import Clock
from edgeferry.core.errors import ChangeRefused, Later, StoreFault
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Rpc, RpcStore
from edgeferry.runtime.background import BackgroundService

PERIOD_SECONDS: Final = 2.0
AT_ONCE: Final = 500
"""Commands in one look; the next look comes at once while there are as many."""

KEPT_MS: Final = 90 * 86_400_000
"""A command is forgotten so long after it was made."""
_FORGET_SECONDS: Final = 600.0

log = logging.getLogger(__name__)


class Expiry(BackgroundService):
    """A Service, beside the owner of commands."""

    name = "command-expiry"

    def __init__(
        self, *, here: Here, tenant_id: str, store: RpcStore, changes: Changes, clock: Clock
    ) -> None:
        self._here = here
        self._tenant_id = tenant_id
        self._store = store
        self._changes = changes
        self._clock = clock
        self._forgot_at: float | None = None
        super().__init__()

    async def run(self) -> None:
        while True:
            more = False
            try:
                more = await self.sweep() == AT_ONCE
                await self._forget()
            except (Later, ChangeRefused, StoreFault) as error:
                log.warning("commands whose time is over are ended later: %s", error)
            await asyncio.sleep(0 if more else PERIOD_SECONDS)

    async def sweep(self) -> int:
        """How many it ended, at most ``AT_ONCE``. Raises StoreUnavailable, LogUnavailable,
        NotAppliedYet."""
        due = await self._store.due(self._clock.now_ms(), AT_ONCE)
        await self._changes.submit([self._expired(rpc) for rpc in due])
        return len(due)

    def _expired(self, rpc: Rpc) -> RpcChange:
        return RpcChange(
            id=new_entity_id(),
            tenant_id=self._tenant_id,
            device_id=rpc.device_id,
            rpc_id=rpc.rpc_id,
            status=RpcStatus.EXPIRED,
            origin=self._here.origin,
            created_time=self._clock.now_ms(),
            body=expired_body(rpc.status),
        )

    async def _forget(self) -> None:
        now = self._clock.monotonic()
        if self._forgot_at is None or now - self._forgot_at >= _FORGET_SECONDS:
            gone = await self._store.expire(self._clock.now_ms() - KEPT_MS, AT_ONCE)
            self._forgot_at = None if gone == AT_ONCE else now
