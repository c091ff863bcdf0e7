"""Devices and commands as the site's store has them, for the gateway."""

import json
from collections.abc import Sequence
from typing import Final

import orjson

from edgeferry.core.changes import RpcStatus
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityStore, Rpc, RpcStore
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device
from edgeferry.gateway.ports import Command

_MOST_SENT: Final = 1_000


class StoredDevices:
    """``known_devices.DeviceKeys``."""

    def __init__(self, entities: EntityStore) -> None:
        self._entities = entities

    async def device(self, token: str) -> Device | None:
        """Raises StoreUnavailable."""
        key = await self._entities.with_token(token)
        if key is None or key[0] != EntityType.DEVICE:
            return None
        entity = (await self._entities.entities([key])).get(key)
        if entity is None or entity.deleted:
            return None
        return Device(entity.name, entity.entity_id, entity.profile or DEFAULT_PROFILE, token)


class KeptCommands:
    """``ports.Commands``."""

    def __init__(self, rpcs: RpcStore) -> None:
        self._rpcs = rpcs

    async def pending(self, device_id: str) -> Sequence[Command]:
        """Raises StoreUnavailable."""
        sent, _ = await self._rpcs.page(device_id, RpcStatus.SENT, _MOST_SENT, 0)
        found = [*sent, *await self._rpcs.pending(device_id)]
        return [_command(rpc) for rpc in sorted(found, key=lambda rpc: rpc.created_time)]


def _command(rpc: Rpc) -> Command:
    request = json.loads(rpc.request or "{}")
    return Command(
        rpc_id=rpc.rpc_id,
        method=str(request.get("method")),
        params=orjson.dumps(request.get("params")).decode(),
        expires_ms=int(request.get("expirationTime") or 0),
        oneway=request.get("oneway") is True,
    )
