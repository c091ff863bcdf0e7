"""Lets aiokafka read records whose header names are no UTF-8.

Kafka takes any bytes as a header's name. aiokafka decodes them strictly inside its fetcher,
where one such record ends the reading of its partition for good. Here its unreadable bytes
become question marks, and nobody has to know.
"""

import struct
from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LENGTH = struct.Struct(">i")
_LENGTH_AT = 8
_BEFORE_LENGTH_ENDS = 12


def read_any_headers() -> None:
    """From now on, for every consumer of this process; it may be called often."""
    fetcher.MemoryRecords = AnyHeaders


class AnyHeaders:
    """In place of aiokafka's ``MemoryRecords``: what a broker answered for one partition."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._records = MemoryRecords(data)
        self._at = 0
        self.has_next = self._records.has_next
        self.size_in_bytes = self._records.size_in_bytes

    def next_batch(self) -> "_Batch":
        at, self._at = self._at, self._at + 1
        return _Batch(self._records.next_batch(), self._data, at)


class _Batch:
    """aiokafka's batch in all but its records."""

    def __init__(self, batch: Any, data: bytes, number: int) -> None:
        self._batch = batch
        self._data = data
        self._number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        taken = 0
        try:
            for record in self._batch:
                taken += 1
                yield record
        except UnicodeDecodeError:
            yield from islice(_mended(_batch_bytes(self._data, self._number)), taken, None)


def _batch_bytes(data: bytes, number: int) -> bytes:
    """Of the batch with this number, from 0."""
    start = end = 0
    for _ in range(number + 1):
        start = end
        end += _BEFORE_LENGTH_ENDS + _LENGTH.unpack_from(data, start + _LENGTH_AT)[0]
    return data[start:end]


def _mended(data: bytes) -> Iterator[Any]:
    """The batch's records, its header names made readable."""
    batch: Any = _DefaultRecordBatchPy(data)
    records: Iterator[Any] = iter(batch)  # uncompresses
    buffer, at = batch._buffer, batch._pos
    for _ in range(batch._num_records):
        at = _mend(buffer, at)
    return records


def _mend(buffer: bytearray, at: int) -> int:
    """Mend the record that begins at ``at``; where the next one does."""
    length, at = decode_varint(buffer, at)
    end: int = at + length
    for _ in ("attributes", "timestamp", "offset"):
        _, at = decode_varint(buffer, at)
    for _ in ("key", "value"):
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    count, at = decode_varint(buffer, at)
    for _ in range(count):
        size, at = decode_varint(buffer, at)
        buffer[at : at + size] = _readable(buffer[at : at + size])
        at += size
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    return end


def _readable(name: bytearray) -> bytes:
    """UTF-8 of the same length."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return bytes(byte if byte < 0x80 else ord("?") for byte in name)
    return bytes(name)
