"""What both sites hold after a load in both directions, compared with each other and with what
the devices have carried out."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from edgeferry.core.changes import RPC_OPEN, RpcStatus
from edgeferry.core.clock import Clock
from edgeferry.core.kv import Scope, Value
from edgeferry.core.message import EntityType
from edgeferry.core.store import Rpc, Store
from edgeferry.store import open_store
from edgeferry.tools.bench.both_ways import BothWays
from edgeferry.tools.bench.installation import Installation

_QUIET_SECONDS: Final = 180.0
_LOOK_SECONDS: Final = 1.0
_PAGE: Final = 10_000
_DONE = (RpcStatus.DELIVERED, RpcStatus.SUCCESSFUL)

Attributes = Mapping[tuple[str, Scope, str], tuple[Value | None, int]]
"""Value (None: deleted) and version by device, scope and key."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a site holds. commands: by rpc id."""

    attributes: Attributes
    commands: Mapping[str, Rpc]

    @property
    def open(self) -> int:
        return sum(one.status in RPC_OPEN for one in self.commands.values())


@dataclass(slots=True)
class Agreement:
    """Of commands: twice: carried out more than once; lost: accepted, and not known in the
    Cloud; claimed: said to be done, and never carried out; not_told: carried out, and still
    QUEUED; differ: their states or answers at the two sites; open: not ended, though its time
    is over. answer_lost: carried out once, and ended otherwise, as after a kill."""

    attributes: int = 0
    attributes_differ: int = 0
    commands: int = 0
    executed: int = 0
    commands_twice: int = 0
    commands_lost: int = 0
    commands_claimed: int = 0
    commands_not_told: int = 0
    commands_differ: int = 0
    commands_open: int = 0
    answer_lost: int = 0
    states: dict[str, int] = field(default_factory=dict)


FAULTS: Final = (
    *("attributes_differ", "commands_twice", "commands_lost", "commands_claimed"),
    *("commands_not_told", "commands_differ", "commands_open"),
)


def agreement(
    cloud: Held, edge: Held, executed: Mapping[int, int], accepted: Mapping[str, int]
) -> Agreement:
    """``executed``: how often, by the number of a command; ``accepted``: rpc id -> number."""
    keys = cloud.attributes.keys() | edge.attributes.keys()
    found = Agreement(attributes=len(keys), commands=len(cloud.commands))
    found.attributes_differ = sum(
        cloud.attributes.get(key) != edge.attributes.get(key) for key in keys
    )
    found.executed = sum(count > 0 for count in executed.values())
    found.commands_twice = sum(count > 1 for count in executed.values())
    found.commands_lost = len(accepted.keys() - cloud.commands.keys())
    numbers = {number_of(one) for one in cloud.commands.values()}
    found.commands_lost += len(executed.keys() - numbers)
    for rpc_id, rpc in cloud.commands.items():
        was_executed = executed.get(number_of(rpc), 0) > 0
        found.commands_claimed += rpc.status in _DONE and not was_executed
        found.commands_not_told += rpc.status is RpcStatus.QUEUED and was_executed
        found.answer_lost += was_executed and rpc.status is not RpcStatus.SUCCESSFUL
        found.commands_differ += not _same(rpc, edge.commands.get(rpc_id))
    found.commands_open = max(cloud.open, edge.open)
    found.states = dict(Counter(str(one.status) for one in cloud.commands.values()))
    return found


def _same(cloud: Rpc, edge: Rpc | None) -> bool:
    """One that ended before it came to the edge need not be known there."""
    if edge is None:
        return cloud.status in (RpcStatus.QUEUED, RpcStatus.EXPIRED)
    return cloud.status is edge.status


def number_of(rpc: Rpc) -> int:
    number: int = json.loads(rpc.request)["params"]["number"]
    return number


class Comparison:
    """Reads both stores beside the running sites."""

    def __init__(self, cloud: Store, edge: Store, devices: Sequence[str], clock: Clock) -> None:
        self._cloud = cloud
        self._edge = edge
        self._devices = devices
        self._clock = clock

    async def quiet(self, load: BothWays) -> Agreement:
        """When nothing differs and no command is open any more, or after minutes, as it is
        then. Raises StoreUnavailable."""
        upto = self._clock.monotonic() + _QUIET_SECONDS
        while True:
            found = agreement(
                await self._held(self._cloud), await self._held(self._edge),
                load.executed, load.accepted,
            )  # fmt: skip
            settled = not (
                load.unacked or found.attributes_differ or found.commands_differ
                or found.commands_open
            )  # fmt: skip
            if settled or self._clock.monotonic() > upto:
                return found
            await asyncio.sleep(_LOOK_SECONDS)

    async def _held(self, store: Store) -> Held:
        attributes: dict[tuple[str, Scope, str], tuple[Value | None, int]] = {}
        commands: dict[str, Rpc] = {}
        for device in self._devices:
            for scope in Scope:
                rows = await store.attributes.standing(EntityType.DEVICE.value, device, scope)
                attributes |= {(device, scope, row.key): (row.value, row.version) for row in rows}
            found, _ = await store.rpcs.page(device, None, _PAGE, 0)
            commands |= {rpc.rpc_id: rpc for rpc in found}
        return Held(attributes, commands)


@asynccontextmanager
async def compared(installation: Installation, clock: Clock) -> AsyncIterator[Comparison]:
    """Raises StoreUnavailable, Stop."""
    async with AsyncExitStack() as stack:
        stores = []
        for site in ("cloud", "edge"):
            settings = installation.settings(site)
            store = open_store(
                settings=settings.store, data=settings.data, clock=clock, read_only=True
            )
            await store.start()
            stack.push_async_callback(store.stop)
            stores.append(store)
        devices = [id_ for id_, _ in installation.devices]
        yield Comparison(stores[0], stores[1], devices, clock)
