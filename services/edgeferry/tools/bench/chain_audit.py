"""Reads what stands in a site's topics: repeats and order of the devices' messages in the root
chain, told by their own timestamps; and what any hop wrote twice, told by the records' ids."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from edgeferry.core.errors import Undecodable
from edgeferry.core.record import LogReader, PartitionEnds, Record
from edgeferry.log.codec import codec, decode_message, schema_id_of
from edgeferry.log.schemas import registered_schemas
from edgeferry.tools.records import stored_records

TELEMETRY = "POST_TELEMETRY_REQUEST"
_WITH_ID = ("RuleMessage", "CloudEvent", "EdgeEvent")
"""Records whose id a repeated hop makes again."""

Marks = Mapping[str, Mapping[int, PartitionEnds]]
"""Topic -> partition -> its ends at some moment."""


@dataclass(slots=True)
class Audit:
    """out_of_order: first occurrences below an earlier one of the same device."""

    seen: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    _known: dict[str, set[int]] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        try:
            message = decode_message(record.value)
        except Undecodable:
            return
        if message.type != TELEMETRY:
            return
        device, ts = message.entity_id, message.data_ts
        known = self._known.setdefault(device, set())
        self.seen += 1
        if ts in known:
            self.duplicates += 1
            return
        known.add(ts)
        self.out_of_order += ts < self._newest.get(device, 0)
        self._newest[device] = max(ts, self._newest.get(device, 0))


async def marks(reader: LogReader, topics: Iterable[str]) -> Marks:
    """The ends of now. Raises LogUnavailable."""
    return {topic: dict(await reader.ends(topic)) for topic in topics}


async def audit(reader: LogReader, topic: str, since: Marks) -> Audit:
    """A root topic, from the ends in ``since`` to those of now. Raises LogUnavailable."""
    found = Audit()
    async for record in _added(reader, topic, since[topic]):
        found.add(record)
    return found


async def hop_repeats(reader: LogReader, since: Marks) -> dict[str, int]:
    """Topic -> how many of the records since then are there already; one entry for each
    topic that something was written to. Raises LogUnavailable."""
    found: dict[str, int] = {}
    for topic, starts in since.items():
        ids, count = set[str](), 0
        async for record in _added(reader, topic, starts):
            id_ = _id(record)
            if id_ is not None:
                ids.add(id_)
                count += 1
        if count:
            found[topic] = count - len(ids)
    return found


async def _added(
    reader: LogReader, topic: str, starts: Mapping[int, PartitionEnds]
) -> AsyncIterator[Record]:
    ends = {
        partition: PartitionEnds(starts[partition].end, now.end)
        for partition, now in (await reader.ends(topic)).items()
    }
    async for record in stored_records(reader, topic, ends):
        yield record


def _id(record: Record) -> str | None:
    """None where a record has no id, or cannot be read."""
    try:
        schema = registered_schemas().get(schema_id_of(record.value or b""))
        if schema is None or schema.subject not in _WITH_ID:
            return None
        return str(codec(schema.subject).decode(record.value)["id"])
    except Undecodable:
        return None
