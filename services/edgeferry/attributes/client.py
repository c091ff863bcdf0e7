"""How the other services change anything: published, applied by the service, then answered."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from edgeferry.attributes.notifier import Applied
from edgeferry.core.changes import (
    RPC_RANKS,
    AttributeChange,
    Change,
    Changes,
    EntityChange,
    NotAppliedYet,
    RpcChange,
)
from edgeferry.core.clock import Clock
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite
from edgeferry.core.record import LogWriter, Outgoing
from edgeferry.core.store import AttributesStore, EntityStore, RpcStore
from edgeferry.log.change_codec import encode_change
from edgeferry.log.topics import site_topic

WAIT_SECONDS: Final = 10.0
FIRST_POLL_SECONDS: Final = 0.005
POLL_SECONDS: Final = 0.05
"""Between looks: half as long again each time, up to this."""


class Waiting(Protocol):
    """Waits until changes are applied: ``expect`` is called before they are published."""

    def expect(self, changes: Sequence[Change]) -> Callable[[float], Awaitable[bool]]:
        """What waits so many seconds at most, and says whether all are applied; with 0 it
        gives up waiting."""
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
            return not unfinished

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
                while not await self._is_applied(change):
                    if self._clock.monotonic() >= end:
                        return False
                    await asyncio.sleep(pause)
                    pause = min(1.5 * pause, POLL_SECONDS)
            return True

        return wait

    async def _is_applied(self, change: Change) -> bool:
        if isinstance(change, AttributeChange):
            place = (change.entity_type, change.entity_id, change.scope)
            for key in {*change.upserts, *change.deletes}:
                past = await self._attributes.decisions(*place, key)
                if all(one.event_id != change.id for one in past):
                    return await self._is_deleted(place[:2])
            return True
        if isinstance(change, EntityChange):
            return await self._entity_is_applied(change)
        rpc = await self._rpcs.get(change.rpc_id)
        return rpc is not None and (
            rpc.event_id == change.id or RPC_RANKS[rpc.status] >= RPC_RANKS[change.status]
        )

    async def _entity_is_applied(self, change: EntityChange) -> bool:
        key = (change.entity_type, change.entity_id)
        match change.action:
            case "ASSIGNED_TO_EDGE":
                return change.edge_id in (await self._store_edges(key))
            case "UNASSIGNED_FROM_EDGE":
                return change.edge_id not in (await self._store_edges(key))
            case "CREDENTIALS":
                credentials = await self._entities.credentials(key)
                return credentials is not None and credentials.event_id == change.id
            case "SNAPSHOT":
                return True  # changes nothing that could be read
            case _:
                entity = (await self._entities.entities([key])).get(key)
                return entity is not None and entity.event_id == change.id

    async def _is_deleted(self, key: tuple[str, str]) -> bool:
        """Nothing is decided about it any more."""
        entity = (await self._entities.entities([key])).get(key)
        return entity is not None and entity.deleted

    async def _store_edges(self, key: tuple[str, str]) -> Sequence[str]:
        return (await self._entities.edges_of([key])).get(key, ())


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
        """Raises LogUnavailable, NotAppliedYet, RecordTooLarge."""
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
                f"the change is kept and will be applied, but was not within {self._seconds:g} s"
            )


def change_record(topic: str, change: Change) -> Outgoing:
    """All of one entity under its id."""
    key = change.device_id if isinstance(change, RpcChange) else change.entity_id
    return Outgoing(topic, key.encode(), encode_change(change))


class AttributesByChanges:
    """The port ``core.node.AttributesPort``: a save becomes changes, whose ids follow from the
    message, so that a repeated hop makes the same ones.

    ``only_changed``: values that stand already are left out (semantics of the field, 6.4)."""

    def __init__(
        self,
        *,
        changes: Changes,
        attributes: AttributesStore,
        tenant_id: str,
        origin: str,
        only_changed: bool = True,
    ) -> None:
        self._changes = changes
        self._attributes = attributes
        self._tenant_id = tenant_id
        self._origin = origin
        self._only_changed = only_changed

    async def save(self, writes: Sequence[AttributesWrite]) -> None:
        """Raises StoreUnavailable, LogUnavailable, NotAppliedYet."""
        changes = [self._change(write) for write in writes if write.values]
        if self._only_changed:
            changes = await self._changed(changes)
        await self._changes.submit(changes)

    async def _changed(self, changes: Sequence[AttributeChange]) -> list[AttributeChange]:
        """Each is compared with what stands after those before it."""
        standing: dict[tuple[str, str, Scope], dict[str, Value]] = {}
        changed = []
        for change in changes:
            place = (change.entity_type, change.entity_id, change.scope)
            if place not in standing:
                entries = await self._attributes.attributes(*place)
                standing[place] = {entry.key: entry.value for entry in entries}
            known = standing[place]
            values = {
                key: value
                for key, value in change.upserts.items()
                if key not in known or not _same(known[key], value)
            }
            known.update(values)
            if values:
                changed.append(replace(change, upserts=values))
        return changed

    def _change(self, write: AttributesWrite) -> AttributeChange:
        place = f"{write.entity_type}|{write.entity_id}|{write.scope}|{write.version}"
        values = json.dumps(write.values, sort_keys=True)
        return AttributeChange(
            id=derived_id(f"{place}|{values}", "save_attributes", 0),
            tenant_id=self._tenant_id,
            entity_type=write.entity_type,
            entity_id=write.entity_id,
            scope=write.scope,
            origin=self._origin,
            created_time=write.last_update_ts,
            upserts=write.values,
        )


def _same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and one == other
