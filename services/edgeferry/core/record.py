"""Records of a log and the ports that carry them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]

HEADER_TRACEPARENT = "traceparent"
HEADER_ORIGIN = "origin"
HEADER_TYPE = "type"
HEADER_EDGE = "edge"
HEADER_EPOCH = "epoch"
HEADER_OFFSET = "offset"
HEADER_CLOCK = "clock"
"""How far the sender's clock was ahead of ours (ms), on what came over the link."""


class Outgoing(NamedTuple):
    """A record to append. The partition follows from the key by murmur2."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Record(NamedTuple):
    """A record as it stands in the log. ``timestamp`` in ms.

    Its headers are clean, whoever wrote them: every name is text of Unicode scalars and
    every value bytes (see ``clean_headers``)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def clean_headers(headers: Sequence[tuple[str, Any]]) -> Headers:
    """A null value, which Kafka lets a foreign writer write, becomes an empty one."""
    for _, value in headers:
        if value is None:
            return [(name, b"" if value is None else value) for name, value in headers]
    return headers


class LogWriter(Protocol):
    """Appends to the site's log."""

    @property
    def max_record_bytes(self) -> int:
        """A value may not be larger, dead letters excepted: they carry a whole record. Key
        and headers have room beside it."""
        ...

    async def append(self, records: Sequence[Outgoing]) -> None:
        """Return when every record is durable, in the given order per partition.

        Raises LogUnavailable (Later: none, some or all may stand in the log),
        RecordTooLarge (Never)."""
        ...


class Span(NamedTuple):
    """Offsets of a partition that a group is through with: ``begin`` <= offset < ``end``."""

    topic: str
    partition: int
    begin: int
    end: int


class TransactionalWriter(LogWriter, Protocol):
    """A log in which outputs and the offsets of their inputs can become durable as one."""

    async def append_and_commit(
        self, records: Sequence[Outgoing], group: str, done: Sequence[Span]
    ) -> None:
        """Append all records and move the group's offsets to the spans' ends, or do nothing.

        Raises AlreadyCommitted when the group has committed beyond a span's begin (another
        run of the same hop was faster), LogUnavailable, RecordTooLarge."""
        ...


class PartitionEnds(NamedTuple):
    """First offset still held and the offset that the next record will get."""

    start: int
    end: int


class LogReader(Protocol):
    """Reads partitions by offset, without a group (sync, tools)."""

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        """Of every partition. Raises LogUnavailable."""
        ...

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        """Records from ``offset`` on in order; empty after ``wait_ms`` with none.

        Raises LogUnavailable, OffsetOutOfRange (below the log's start)."""
        ...
