"""The attributes service: every change of an entity, in order, by one owner."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from edgeferry.attributes.commands import Commands
from edgeferry.attributes.entities import Entities
from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.attributes.fanout import fan_out
from edgeferry.attributes.notifier import Applied, gone
from edgeferry.attributes.standing import standing_at
from edgeferry.attributes.versions import (
    Known,
    Wanted,
    evicted,
    may_be_decided,
    values_of,
    versioned,
)
from edgeferry.core.changes import AttributeChange, Change, EntityChange, RpcChange
from edgeferry.core.clock import Clock
from edgeferry.core.errors import ChangeRefused, EntityGone, Never
from edgeferry.core.events import CloudEvent
from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType, RuleMessage
from edgeferry.core.record import HEADER_TYPE, Outgoing, Record
from edgeferry.core.side_by_side import side_by_side
from edgeferry.core.store import AttributesStore, EntityKey, Outcome
from edgeferry.log.change_codec import decode_change
from edgeferry.log.codec import encode_cloud_event, encode_edge_event, encode_message
from edgeferry.log.topics import root_topic, site_topic
from edgeferry.streams.processor import Dead, Outputs, TopicPartition

_Place = tuple[str, str, Scope, str]


class _Read(NamedTuple):
    """``out``: what follows from it."""

    record: Record
    change: Change
    out: Consequences


class AttributesService:
    """A ``streams.processor.Processor``."""

    def __init__(
        self,
        *,
        here: Here,
        attributes: AttributesStore,
        entities: Entities,
        commands: Commands,
        applied: Applied,
        clock: Clock,
        late: Callable[[int], None] = lambda count: None,
    ) -> None:
        """``late``: counts attribute changes that came after their entity was deleted, or taken
        from this edge."""
        self._here = here
        self._attributes = attributes
        self._entities = entities
        self._commands = commands
        self._applied = applied
        self._clock = clock
        self._late = late
        self._not_applied: dict[str, Never] = {}

    @property
    def name(self) -> str:
        return f"{self._here.site}.attributes"

    @property
    def chain(self) -> str:
        return ""

    @property
    def node(self) -> str:
        return "attributes"

    @property
    def topics(self) -> tuple[str, ...]:
        return (site_topic(self._here.site, "attribute-changes"),)

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        """See ``Processor``. Changes between two of entities are applied side by side, those of
        a device's commands in order; what follows from each leaves in the order of the records."""
        read = [one for record in records if (one := _read(record, outputs)) is not None]
        for one in read:
            self._not_applied.pop(one.change.id, None)
        batch = _of_entities(read)
        for of_entities, group in groupby(read, lambda one: isinstance(one.change, EntityChange)):
            if not of_entities:
                await self._side_by_side(list(group), outputs)
                continue
            for one in group:
                try:
                    await self._apply(one, batch)
                except Never as error:
                    self._refuse(one, error, outputs)
        for one in read:
            outputs.records += outgoing(one.out, self._here.site)

    async def delivered(self, records: Sequence[Record]) -> None:
        for record in records:
            try:
                change = decode_change(record.value)
            except Never:
                continue
            error = self._not_applied.pop(change.id, None)
            if isinstance(error, EntityGone):
                self._late(1)
            self._applied.tell(change.id, error)
            if isinstance(change, RpcChange):
                self._applied.tell(change.rpc_id)

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        """Of the store nothing is held in memory."""
        self._not_applied.clear()
        self._applied.partitions = frozenset(at.partition for at in committed)

    def _refuse(self, one: _Read, error: Never, outputs: Outputs) -> None:
        outputs.dead.append(Dead(one.record, error))
        self._not_applied[one.change.id] = ChangeRefused(str(error))

    async def _apply(self, one: _Read, batch: Mapping[EntityKey, Sequence[str]]) -> None:
        change, now_ms = one.change, self._clock.now_ms()
        assert isinstance(change, EntityChange)
        together = batch[change.entity_type, change.entity_id]
        await self._entities.apply(change, now_ms, one.out, _source(one.record), together)

    async def _side_by_side(self, read: Sequence[_Read], outputs: Outputs) -> None:
        """Of attributes and of commands: neither alters what is known of an entity, nor asks
        for the other."""
        facts = await self._entities.facts(list(dict.fromkeys(map(_entity_of, read))))
        attributes: list[_Read] = []
        commands: dict[str, list[_Read]] = {}
        for one in read:
            if isinstance(one.change, RpcChange):
                commands.setdefault(one.change.device_id, []).append(one)
            else:
                attributes.append(one)
        work = [self._command(of_one, facts, outputs) for of_one in commands.values()]
        if attributes:
            work.append(self._decide(attributes, facts, outputs))
        await side_by_side(work)

    async def _command(
        self, read: Sequence[_Read], facts: Mapping[EntityKey, Facts], outputs: Outputs
    ) -> None:
        """A device's, one after the other."""
        for one in read:
            assert isinstance(one.change, RpcChange)
            try:
                await self._commands.apply(
                    one.change, facts[_entity_of(one)], self._clock.now_ms(), one.out
                )
            except Never as error:
                self._refuse(one, error, outputs)

    async def _decide(
        self, read: list[_Read], facts: Mapping[EntityKey, Facts], outputs: Outputs
    ) -> None:
        """One read of what stands per entity and scope, one apply for all. What is about a
        deleted entity comes too late: nothing is to stand of it."""
        for one in read:
            if facts[_entity_of(one)].deleted:
                self._not_applied[one.change.id] = gone(_entity_of(one))
        read = [one for one in read if not facts[_entity_of(one)].deleted]
        known = await self._known(read)
        passed = evicted(
            [one.change for one in read if isinstance(one.change, AttributeChange)], known
        )
        now_ms = self._clock.now_ms()
        wanted: list[tuple[_Read, list[Wanted]]] = []
        for one in read:
            change = one.change
            assert isinstance(change, AttributeChange)
            place = (change.entity_type, change.entity_id, change.scope)
            try:
                rows = versioned(
                    change,
                    {key: known.get((*place, key), Known()) for key in values_of(change)},
                    self._here.origin,
                    now_ms,
                    _source(one.record),
                )
            except Never as error:
                self._refuse(one, error, outputs)
                continue
            rows = [row for row in rows if (change.id, row.row.key) not in passed]
            for row in rows:
                at = (*place, row.row.key)
                known[at] = known.get(at, Known()).with_(row.row, now_ms)
            wanted.append((one, rows))
        await self._settle(wanted, facts)

    async def _settle(
        self,
        wanted: Sequence[tuple[_Read, list[Wanted]]],
        facts: Mapping[EntityKey, Facts],
    ) -> None:
        decisions = iter(
            await self._attributes.apply([row.row for _, rows in wanted for row in rows])
        )
        for one, rows in wanted:
            accepted = [
                row.row
                for row in rows
                if next(decisions).outcome is Outcome.APPLIED or row.repeated
            ]
            assert isinstance(one.change, AttributeChange)
            fan_out(one.change, accepted, facts[_entity_of(one)], self._here, one.out)

    async def _known(self, read: Sequence[_Read]) -> dict[_Place, Known]:
        wanted: dict[tuple[str, str, Scope], dict[str, int]] = {}
        for record, change, _ in read:
            assert isinstance(change, AttributeChange)
            place = (change.entity_type, change.entity_id, change.scope)
            keys = wanted.setdefault(place, {})
            for key in values_of(change):
                least = may_be_decided(change.versions.get(key, 0), record.timestamp)
                keys[key] = min(keys.get(key, least), least)
        found = await standing_at(self._attributes, wanted.items())
        known: dict[_Place, Known] = {}
        repeated: list[_Place] = []
        for place, rows in found.items():
            for row in rows:
                known[*place, row.key] = Known(row.version, row.origin)
                if row.version >= wanted[place][row.key]:
                    repeated.append((*place, row.key))
        pasts = await side_by_side(self._attributes.decisions(*at) for at in repeated)
        for at, past in zip(repeated, pasts, strict=True):
            known[at] = known[at]._replace(decisions=past)
        return known


def _source(record: Record) -> str:
    """Where it stands."""
    return f"{record.partition}/{record.offset}"


def _of_entities(read: Sequence[_Read]) -> Mapping[EntityKey, Sequence[str]]:
    """The ids of the changes of each entity itself, in order."""
    ids: dict[EntityKey, list[str]] = {}
    for _, change, _ in read:
        if isinstance(change, EntityChange):
            ids.setdefault((change.entity_type, change.entity_id), []).append(change.id)
    return ids


def _entity_of(read: _Read) -> EntityKey:
    if isinstance(read.change, RpcChange):
        return (EntityType.DEVICE.value, read.change.device_id)
    return (read.change.entity_type, read.change.entity_id)


def _read(record: Record, outputs: Outputs) -> _Read | None:
    try:
        return _Read(record, decode_change(record.value), Consequences())
    except Never as error:
        outputs.dead.append(Dead(record, error))
        return None


def outgoing(out: Consequences, site: str) -> list[Outgoing]:
    """The records of all consequences."""
    commands = site_topic(site, "device-commands")
    records = [_message(root_topic(site), message) for message in out.root]
    records += [_message(commands, message) for message in out.commands]
    records += [_message(topic, message) for topic, message in out.outcomes]
    for topic, events in (
        (site_topic(site, "cloud-events"), out.cloud_events),
        (site_topic(site, "cloud-events-ts"), out.cloud_events_ts),
    ):
        records += [_cloud(topic, event) for event in events]
    for topic, for_edges in (
        (site_topic(site, "edge-events"), out.edge_events),
        (site_topic(site, "edge-events-ts"), out.edge_events_ts),
    ):
        records += [
            Outgoing(topic, one.edge_id.encode(), encode_edge_event(one)) for one in for_edges
        ]
    return records


def _message(topic: str, message: RuleMessage) -> Outgoing:
    headers = ((HEADER_TYPE, message.type.encode()),)
    return Outgoing(topic, message.entity_id.encode(), encode_message(message), headers)


def _cloud(topic: str, event: CloudEvent) -> Outgoing:
    return Outgoing(topic, event.entity_id.encode(), encode_cloud_event(event))
