"""Records on the wire: packed without decoding a single event, compressed, bounded."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import zstandard
from google.protobuf.message import DecodeError

from edgeferry.core.record import Headers, Record
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.resume import event_hash
from edgeferry.sync.sync_pb2 import Batch, Records, Shape

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Of a batch unpacked. A compressed frame that claims more is refused unread."""

_LEVEL = 3


class Packed(NamedTuple):
    """A batch ready to send; ``size`` in bytes before compression."""

    batch: Batch
    size: int
    last: bytes


class Event(NamedTuple):
    """One received record; ``offset`` is its address in the sender's log."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class BatchPacker:
    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)

    def pack(self, lane: str, epoch: int, from_offset: int, records: Sequence[Record]) -> Packed:
        """``records`` in order, none of them below ``from_offset``, at least one."""
        body = Records(
            keys=[record.key or b"" for record in records],
            values=[record.value or b"" for record in records],
            null_keys=[i for i, record in enumerate(records) if record.key is None],
            null_values=[i for i, record in enumerate(records) if record.value is None],
        )
        last = records[-1]
        if last.offset - from_offset + 1 != len(records):
            body.offsets.extend([record.offset for record in records])
        _pack_headers(body, records)
        data = body.SerializeToString()
        batch = Batch(
            lane=lane,
            epoch=epoch,
            from_offset=from_offset,
            next_offset=last.offset + 1,
            records=self._compressor.compress(data),
        )
        return Packed(batch, len(data), event_hash(last.value))


class BatchUnpacker:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor()

    def unpack(self, batch: Batch) -> list[Event]:
        """Raises ProtocolError for anything but whole, ordered records of this batch."""
        unpacked_size(batch)
        try:
            body = Records.FromString(self._decompressor.decompress(batch.records))
        except (zstandard.ZstdError, DecodeError) as error:
            raise ProtocolError(f"batch that cannot be unpacked: {error}") from error
        keys: list[bytes | None] = list(body.keys)
        values: list[bytes | None] = list(body.values)
        first, count = batch.from_offset, len(keys)
        offsets: Sequence[int] = body.offsets or range(first, first + count)
        if not count == len(values) == len(offsets):
            raise ProtocolError(
                f"batch with {count} keys, {len(values)} values, {len(offsets)} offsets"
            )
        _check_order(batch, offsets)
        _set_null(keys, body.null_keys)
        _set_null(values, body.null_values)
        return list(map(Event, offsets, keys, values, _unpack_headers(body, count)))


def unpacked_size(batch: Batch) -> int:
    """Bytes after decompression, from the frame's head. Raises ProtocolError."""
    try:
        size = zstandard.frame_content_size(batch.records)
    except zstandard.ZstdError as error:
        raise ProtocolError(f"batch that is no zstd frame: {error}") from error
    if not 0 < size <= MAX_BATCH_BYTES:
        raise ProtocolError(f"batch of {size} bytes; at most {MAX_BATCH_BYTES} are taken")
    return size


def _pack_headers(body: Records, records: Sequence[Record]) -> None:
    shapes: dict[tuple[str, ...], int] = {}
    shape_of: list[int] = []
    values: list[bytes] = []
    for record in records:
        names = tuple([name for name, _ in record.headers])
        shape_of.append(shapes.setdefault(names, len(shapes)))
        values += [value for _, value in record.headers]
    body.shapes.extend([Shape(names=names) for names in shapes])
    if len(shapes) > 1:
        body.shape_of.extend(shape_of)
    body.header_values.extend(values)


def _unpack_headers(body: Records, count: int) -> Iterable[Headers]:
    shapes = [tuple(shape.names) for shape in body.shapes]
    values = list(body.header_values)
    shape_of = body.shape_of or [0] * count
    found: list[Headers] = []
    at = 0
    try:
        for index in shape_of:
            names = shapes[index]
            upto = at + len(names)
            found.append(list(zip(names, values[at:upto], strict=True)))
            at = upto
    except (IndexError, ValueError) as error:
        raise ProtocolError("batch whose headers do not fit its records") from error
    if at != len(values) or len(found) != count:
        raise ProtocolError("batch whose headers do not fit its records")
    return found


def _check_order(batch: Batch, offsets: Sequence[int]) -> None:
    if not offsets or offsets[0] < batch.from_offset or offsets[-1] + 1 != batch.next_offset:
        raise ProtocolError("batch whose records are not those it announces")
    if isinstance(offsets, range):
        return
    previous = -1
    for offset in offsets:
        if offset <= previous:
            raise ProtocolError("batch whose offsets do not rise")
        previous = offset


def _set_null(column: list[bytes | None], indexes: Iterable[int]) -> None:
    for index in indexes:
        if index >= len(column):
            raise ProtocolError("batch with a null where there is no record")
        column[index] = None
