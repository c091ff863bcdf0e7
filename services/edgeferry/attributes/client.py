"""How the other services change anything: published, applied by the service, then answered."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from edgeferry.attributes.entity_decisions import EntityOutcome, decision_of
from edgeferry.attributes.notifier import Applied, check_applied, gone
from edgeferry.attributes.versions import values_of
from edgeferry.core.changes import (
    RPC_RANKS,
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    News,
    NotAppliedYet,
    RpcChange,
)
from edgeferry.core.clock import Clock
from edgeferry.core.errors import ChangeRefused
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.core.store import AttributesStore, EntityStore, RpcStore
from edgeferry.log.change_codec import encode_change
from edgeferry.log.keys import KeyHashes
from edgeferry.log.topics import site_topic

WAIT_SECONDS: Final = 10.0
FIRST_POLL_SECONDS: Final = 0.01
POLL_SECONDS: Final = 0.1
"""Between looks: half as long again each time, up to this."""
LOOK_SECONDS: Final = 1.0
"""Who waits to be told looks so often, too: the partition may have gone to another process."""


class Waiting(Protocol):
    """Waits until changes are applied: ``expect`` is called before they are published."""

    def expect(self, changes: Sequence[Change]) -> Callable[[float], Awaitable[bool]]:
        """What waits so many seconds at most, and says whether all are decided; with 0 it
        gives up waiting. It raises ChangeRefused, EntityGone."""
        ...

    def news_of(self, device_id: str, rpc_id: str) -> News:
        """See ``core.changes.Changes``."""
        ...


class InProcess:
    """The service runs in this process."""

    def __init__(self, applied: Applied) -> None:
        self._applied = applied

    def expect(self, changes: Sequence[Change]) -> Callable[[float], Awaitable[bool]]:
        expected = self._applied.expect(change.id for change in changes)

        async def wait(seconds: float) -> bool:
            try:
                _, unfinished = await asyncio.wait(expected.values(), timeout=seconds)
            finally:
                self._applied.forget(expected)
            check_applied(expected.values())
            return not unfinished

        return wait

    def news_of(self, device_id: str, rpc_id: str) -> News:
        expected = self._applied.expect([rpc_id])

        async def wait(seconds: float) -> None:
            try:
                await asyncio.wait(expected.values(), timeout=seconds)
            finally:
                self._applied.forget(expected)

        return wait


class ByPolling:
    """The service runs in another process: what it has decided stands in the store."""

    def __init__(
        self, *, attributes: AttributesStore, entities: EntityStore, rpcs: RpcStore, clock: Clock
    ) -> None:
        self._attributes = attributes
        self._entities = entities
        self._rpcs = rpcs
        self._clock = clock

    def expect(self, changes: Sequence[Change]) -> Callable[[float], Awaitable[bool]]:
        async def wait(seconds: float) -> bool:
            if not seconds:
                return False
            end, pause = self._clock.monotonic() + seconds, FIRST_POLL_SECONDS
            for change in changes:
                while not await self.is_applied(change):
                    if self._clock.monotonic() >= end:
                        return False
                    await asyncio.sleep(pause)
                    pause = min(1.5 * pause, POLL_SECONDS)
            return True

        return wait

    def news_of(self, device_id: str, rpc_id: str) -> News:
        async def wait(seconds: float) -> None:
            await asyncio.sleep(min(seconds, POLL_SECONDS))

        return wait

    async def is_applied(self, change: Change) -> bool:
        """Raises StoreUnavailable, ChangeRefused, EntityGone."""
        if isinstance(change, AttributeChange):
            place = (change.entity_type, change.entity_id, change.scope)
            for key in values_of(change):
                past = await self._attributes.decisions(*place, key)
                if all(one.event_id != change.id for one in past):
                    await self._check_there(place[:2])
                    return False
            return True
        if isinstance(change, EntityChange):
            return await self._entity_is_applied(change)
        rpc = await self._rpcs.get(change.rpc_id)
        return rpc is not None and (
            rpc.event_id == change.id or RPC_RANKS[rpc.status] >= RPC_RANKS[change.status]
        )

    async def _entity_is_applied(self, change: EntityChange) -> bool:
        """What was decided is kept with the entity; of one that nobody knows nothing is."""
        key = (change.entity_type, change.entity_id)
        entity = (await self._entities.entities([key])).get(key)
        if entity is not None:
            decision = decision_of(entity, change.id)
            if decision is not None and decision.outcome is EntityOutcome.REFUSED:
                raise ChangeRefused(f"{key[0]} {key[1]} may not be changed from here")
            return decision is not None
        match change.action:
            case EntityAction.ASSIGNED:
                return change.edge_id in await self._edges_of(key)
            case EntityAction.UNASSIGNED:
                return change.edge_id not in await self._edges_of(key)
            case EntityAction.CREDENTIALS:
                credentials = await self._entities.credentials(key)
                return credentials is not None and credentials.event_id == change.id
            case EntityAction.SNAPSHOT:
                return True  # changes nothing that could be read
            case EntityAction.SAVED | EntityAction.DELETED:
                return False

    async def _check_there(self, key: tuple[str, str]) -> None:
        """Nothing is decided about what is deleted. Raises EntityGone."""
        entity = (await self._entities.entities([key])).get(key)
        if entity is not None and entity.deleted:
            raise gone(key)

    async def _edges_of(self, key: tuple[str, str]) -> Sequence[str]:
        return (await self._entities.edges_of([key])).get(key, ())


class HereOrElsewhere:
    """The service runs in this process and in others, each with some of the partitions."""

    def __init__(self, *, applied: Applied, polling: ByPolling, partitions: int) -> None:
        """``partitions``: how many the topic of changes has."""
        self._applied = applied
        self._here = InProcess(applied)
        self._polling = polling
        self._partitions = partitions
        self._hashes = KeyHashes()

    def expect(self, changes: Sequence[Change]) -> Callable[[float], Awaitable[bool]]:
        here = [change for change in changes if self._is_here(key_of(change))]
        expected = self._applied.expect(change.id for change in here)
        elsewhere = self._polling.expect(
            [change for change in changes if change.id not in expected]
        )

        async def wait(seconds: float) -> bool:
            loop = asyncio.get_running_loop()
            end = loop.time() + seconds
            try:
                waiting = {change.id: change for change in here}
                while waiting and loop.time() < end:
                    some = [expected[id_] for id_ in waiting]
                    await asyncio.wait(some, timeout=min(end - loop.time(), LOOK_SECONDS))
                    waiting = {
                        id_: change
                        for id_, change in waiting.items()
                        if not (expected[id_].done() or await self._polling.is_applied(change))
                    }
            finally:
                self._applied.forget(expected)
            check_applied(expected.values())
            return not waiting and await elsewhere(max(0.0, end - loop.time()))

        return wait

    def news_of(self, device_id: str, rpc_id: str) -> News:
        here = self._is_here(device_id)
        return (self._here if here else self._polling).news_of(device_id, rpc_id)

    def _is_here(self, key: str) -> bool:
        return self._hashes(key.encode()) % self._partitions in self._applied.partitions


class SubmittedChanges:
    """The port ``core.changes.Changes``."""

    def __init__(
        self, *, site: str, writer: LogWriter, waiting: Waiting, seconds: float = WAIT_SECONDS
    ) -> None:
        self._topic = site_topic(site, "attribute-changes")
        self._writer = writer
        self._waiting = waiting
        self._seconds = seconds

    async def submit(self, changes: Sequence[Change]) -> None:
        """Raises LogUnavailable, NotAppliedYet, RecordTooLarge, ChangeRefused, EntityGone."""
        if not changes:
            return
        wait = self._waiting.expect(changes)
        try:
            await self._writer.append([change_record(self._topic, change) for change in changes])
        except BaseException:
            await wait(0)
            raise
        if not await wait(self._seconds):
            raise NotAppliedYet(
                f"the change is kept and will be decided, but was not within {self._seconds:g} s"
            )

    def news_of(self, device_id: str, rpc_id: str) -> News:
        return self._waiting.news_of(device_id, rpc_id)


def change_record(topic: str, change: Change) -> Outgoing:
    return Outgoing(topic, key_of(change).encode(), encode_change(change))


def key_of(change: Change) -> str:
    """All of one entity under its id."""
    return change.device_id if isinstance(change, RpcChange) else change.entity_id
