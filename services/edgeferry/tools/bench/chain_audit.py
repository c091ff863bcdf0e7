"""Reads what entered the Cloud's root chain: repeats and order, told by the devices' own
timestamps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgeferry.core.errors import Undecodable
from edgeferry.core.record import LogReader, PartitionEnds, Record
from edgeferry.log.codec import decode_message

_READ_BYTES = 4_000_000
_WAIT_MS = 2_000
TELEMETRY = "POST_TELEMETRY_REQUEST"


@dataclass(slots=True)
class Audit:
    """out_of_order: first occurrences below an earlier one of the same device."""

    seen: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    _known: dict[str, set[int]] = field(default_factory=dict)
    _newest: dict[str, int] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            try:
                message = decode_message(record.value)
            except Undecodable:
                continue
            if message.type != TELEMETRY:
                continue
            device, ts = message.entity_id, message.data_ts
            known = self._known.setdefault(device, set())
            self.seen += 1
            if ts in known:
                self.duplicates += 1
                continue
            known.add(ts)
            self.out_of_order += ts < self._newest.get(device, 0)
            self._newest[device] = max(ts, self._newest.get(device, 0))


async def audit(reader: LogReader, topic: str, starts: Mapping[int, PartitionEnds]) -> Audit:
    """From the ends in ``starts`` (taken before the load) to the ends of now."""
    found = Audit()
    for partition, ends in (await reader.ends(topic)).items():
        offset = starts[partition].end
        while offset < ends.end:
            records = await reader.read(topic, partition, offset, _READ_BYTES, _WAIT_MS)
            if not records:
                break
            found.add(records)
            offset = records[-1].offset + 1
    return found
