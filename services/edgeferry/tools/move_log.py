"""Copies topics from one log into another, which holds nothing else.

What stands in the target is the progress: a key's records are in one partition, and appends
keep their order, so the target has the first few records of each key and the rest is still to
come. An append that was cut off leaves just that behind, too.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

from edgeferry.core.errors import LogUnavailable, RecordTooLarge, Stop
from edgeferry.core.record import Headers, LogReader, LogWriter, Outgoing, Record

Spans = Mapping[int, tuple[int, int]]
"""Partition -> the first offset and the one to stop before."""

_READ_BYTES = 1_000_000
_APPEND_BYTES = 4_000_000
_APPEND_RECORDS = 10_000
_WAIT_MS = 5_000
_DIGEST_BYTES = 16


class Sum(NamedTuple):
    """Of a topic. bytes: of keys, values and headers. checksum: over each key's records in
    their order."""

    records: int
    bytes: int
    checksum: str


async def copy_topic(
    *,
    source: LogReader,
    target: LogReader,
    writer: LogWriter,
    topic: str,
    spans: Spans,
    say: Callable[[int], None],
) -> None:
    """Append what the target lacks. ``say`` is told of each record count copied.

    Raises LogUnavailable (call again), Stop when the target has what is not of the source."""
    there = await _counted(target, topic)
    async for records in _lacking(records_of(source, topic, spans), there):
        try:
            await writer.append(records)
        except RecordTooLarge as error:
            raise Stop(f"the target does not take a record of {topic}: {error}") from error
        say(len(records))
    foreign = sum(there.values())
    if foreign:
        raise Stop(
            f"{topic} has {foreign} records in the target that are not of this site: delete the "
            "topic there, or choose another target"
        )


async def carried_over(
    *, source: LogReader, target: LogReader, topic: str, spans: Spans, read: Mapping[int, int]
) -> dict[int, int]:
    """Where a group goes on in the target that has read the source up to ``read``: behind the
    first records of each partition that it knows. Raises LogUnavailable."""
    known: Counter[bytes] = Counter()
    behind = {at: (begin, min(read[at], end)) for at, (begin, end) in spans.items()}
    async for record in records_of(source, topic, behind):
        known[_place(record)] += 1
    offsets: dict[int, int] = {}
    for partition, span in (await held(target, topic)).items():
        offsets[partition] = span[0]
        if not known.total():
            continue
        async for record in records_of(target, topic, {partition: span}):
            at = _place(record)
            if not known[at]:
                break
            known[at] -= 1
            offsets[partition] = record.offset + 1
    return offsets


async def summed(reader: LogReader, topic: str, spans: Spans) -> Sum:
    """Raises LogUnavailable."""
    count = size = 0
    chains: dict[bytes, bytes] = {}
    async for record in records_of(reader, topic, spans):
        count += 1
        size += _size(record)
        at = _place(record)
        chain = blake2b(chains.get(at, b""), digest_size=_DIGEST_BYTES)
        chain.update(_digest(record))
        chains[at] = chain.digest()
    whole = 0
    for at, last in chains.items():
        whole ^= int.from_bytes(blake2b(at + last, digest_size=_DIGEST_BYTES).digest(), "big")
    return Sum(count, size, f"{whole:0{2 * _DIGEST_BYTES}x}")


async def held(reader: LogReader, topic: str) -> Spans:
    """All that a topic has now. Raises LogUnavailable."""
    return {at: (ends.start, ends.end) for at, ends in (await reader.ends(topic)).items()}


async def records_of(reader: LogReader, topic: str, spans: Spans) -> AsyncIterator[Record]:
    """Partition by partition. Raises LogUnavailable."""
    for partition, (offset, end) in sorted(spans.items()):
        while offset < end:
            records = await reader.read(topic, partition, offset, _READ_BYTES, _WAIT_MS)
            if not records:
                raise LogUnavailable(f"{topic}-{partition} gives no record at {offset}")
            for record in records:
                if record.offset < end:
                    yield record
            offset = records[-1].offset + 1


async def _counted(target: LogReader, topic: str) -> Counter[bytes]:
    there: Counter[bytes] = Counter()
    async for record in records_of(target, topic, await held(target, topic)):
        there[_place(record)] += 1
    return there


async def _lacking(
    records: AsyncIterator[Record], there: Counter[bytes]
) -> AsyncIterator[Sequence[Outgoing]]:
    """In pieces to append at once. What is found in ``there`` is taken out of it."""
    piece: list[Outgoing] = []
    size = 0
    async for record in records:
        at = _place(record)
        if there[at] > 0:
            there[at] -= 1
            continue
        piece.append(Outgoing(record.topic, record.key, record.value or b"", record.headers))
        size += _size(record)
        if size >= _APPEND_BYTES or len(piece) >= _APPEND_RECORDS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def _place(record: Record) -> bytes:
    """Where order counts: the key. Without one a record may come to stand anywhere."""
    return b"k" + record.key if record.key is not None else b"r" + _digest(record)


def _digest(record: Record) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in (record.value or b"", *_parts(record.headers)):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def _parts(headers: Headers) -> list[bytes]:
    return [part for name, value in headers for part in (name.encode(), value)]


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"") + sum(map(len, _parts(record.headers)))
