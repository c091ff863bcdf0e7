"""At an Edge: the events that it has made for its Cloud, as its log holds them (semantics of
the field, sections 2.1 and 7.4)."""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from edgeferry.api.bodies import bad_request
from edgeferry.api.context import ApiContext
from edgeferry.api.edge_events import body_of
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.api.pages import Page, entity_id, page_of
from edgeferry.core.errors import OffsetOutOfRange, Undecodable
from edgeferry.core.events import CloudEvent
from edgeferry.core.record import LogReader, Record
from edgeferry.core.store import EntityOrder
from edgeferry.log.codec import decode_cloud_event
from edgeferry.log.topics import site_topic

_LANES: Final = ("cloud-events", "cloud-events-ts")
_MOST_LOOKED_AT: Final = 10_000
"""Of each lane: they are read for each page anew."""
_READ_BYTES: Final = 1_000_000


class _Part(NamedTuple):
    """Of one partition: ``begin`` <= offset < ``end``."""

    topic: str
    partition: int
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin


class _Placed(NamedTuple):
    """Sorts by time, then by place."""

    created_time: int
    topic: str
    partition: int
    offset: int
    event: CloudEvent


class CloudEvents:
    """Both lanes as one list by time."""

    def __init__(self, context: ApiContext) -> None:
        self._reader = context.reader
        self._site = context.writing.site
        self._tenant_id = context.writing.tenant_id

    async def page(self, page: Page, bounds: tuple[int, int]) -> dict[str, Any]:
        """Made at bounds[0] <= t < bounds[1] (ms); textSearch: of the types of the newest
        10,000 of each lane. Raises ApiError, LogUnavailable."""
        reader = self._reader
        if reader is None:
            raise ApiError(403, ErrorCode.PERMISSION_DENIED, "Cloud events are an Edge's to know")
        parts = [part for lane in _LANES for part in await self._parts(reader, lane, bounds)]
        oldest_first = page.order is EntityOrder.OLDEST
        if page.skip > _MOST_LOOKED_AT:
            raise bad_request(
                f"page: the first {_MOST_LOOKED_AT} events of a list are shown: narrow it with "
                "startTime and endTime, or turn it with sortOrder"
            )
        most = _MOST_LOOKED_AT if page.text else page.skip + page.limit
        found = [
            placed
            for part in parts
            async for placed in _events(reader, _cut(part, most, oldest_first))
        ]
        total = sum(part.size for part in parts)
        if page.text:
            wanted = page.text.casefold()
            found = [placed for placed in found if wanted in placed.event.type.casefold()]
            total = len(found)
        found.sort(key=lambda placed: placed[:4], reverse=not oldest_first)
        rows = [self._shown(placed) for placed in found[page.skip : page.skip + page.size]]
        return page_of(rows, total, page)

    async def _parts(self, reader: LogReader, lane: str, bounds: tuple[int, int]) -> list[_Part]:
        topic = site_topic(self._site, lane)
        parts = []
        for partition, ends in (await reader.ends(topic)).items():
            part = _Part(topic, partition, *ends)
            begin = await _first_since(reader, part, bounds[0]) if bounds[0] else part.begin
            end = await _first_since(reader, part, bounds[1]) if bounds[1] < 2**53 else part.end
            parts.append(part._replace(begin=begin, end=max(begin, end)))
        return parts

    def _shown(self, placed: _Placed) -> dict[str, Any]:
        event = placed.event
        return {
            "id": {"id": event.id},
            "createdTime": event.created_time,
            "tenantId": entity_id("TENANT", self._tenant_id),
            "seqId": placed.offset,
            "type": event.type,
            "action": event.action,
            "entityId": event.entity_id,
            "entityBody": body_of(event),
        }


def _cut(part: _Part, most: int, oldest_first: bool) -> _Part:
    if oldest_first:
        return part._replace(end=min(part.end, part.begin + most))
    return part._replace(begin=max(part.begin, part.end - most))


async def _first_since(reader: LogReader, part: _Part, ms: int) -> int:
    """The offset of the first event made then or later: a lane is in the order of time, but
    for clocks that are set. Raises LogUnavailable."""
    low, high = part.begin, part.end
    while low < high:
        middle = (low + high) // 2
        records = await _read(reader, part, middle, 1)
        if not records:
            low = middle + 1
        elif _made(records[0]) >= ms:
            high = middle
        else:
            low = max(middle, records[0].offset) + 1
    return min(low, part.end)


async def _events(reader: LogReader, part: _Part) -> AsyncIterator[_Placed]:
    """What cannot be decoded is left out. Raises LogUnavailable."""
    offset = part.begin
    while offset < part.end:
        records = await _read(reader, part, offset, _READ_BYTES)
        if not records:
            return
        for record in records:
            if record.offset >= part.end:
                return
            try:
                event = decode_cloud_event(record.value)
            except Undecodable:
                continue
            yield _Placed(event.created_time, record.topic, record.partition, record.offset, event)
        offset = records[-1].offset + 1


async def _read(reader: LogReader, part: _Part, offset: int, max_bytes: int) -> list[Record]:
    """None where it was trimmed meanwhile. Raises LogUnavailable."""
    try:
        return list(await reader.read(part.topic, part.partition, offset, max_bytes, 0))
    except OffsetOutOfRange:
        return []


def _made(record: Record) -> int:
    try:
        return decode_cloud_event(record.value).created_time
    except Undecodable:
        return record.timestamp
