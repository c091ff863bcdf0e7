"""Records whose header names are no UTF-8, in the bytes that a broker answers."""

from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from edgeferry.log.kafka_headers import AnyHeaders, read_any_headers
from tests.foreign_headers import RawName

NONE, ZSTD = 0, 4
Row = tuple[int, list[tuple[str, bytes | None]]]


def batch(*rows: Row, codec: int = NONE) -> bytes:
    """A batch as it stands in a log: (offset, headers) of each record, the first one's 0."""
    builder = _DefaultRecordBatchBuilderPy(2, codec, False, -1, -1, -1, 1_000_000)
    for offset, headers in rows:
        builder.append(offset, 1_000 + offset, b"k%d" % offset, b"v%d" % offset, headers)
    return bytes(builder.build())


def moved(data: bytes, base_offset: int) -> bytes:
    return base_offset.to_bytes(8, "big") + data[8:]


def read(data: bytes) -> list[Any]:
    found: list[Any] = []
    records = AnyHeaders(data)
    while records.has_next():
        found += records.next_batch()
    return found


def seen(records: Iterable[Any]) -> list[tuple[int, int, bytes, bytes, list[Any]]]:
    return [(row.offset, row.timestamp, row.key, row.value, row.headers) for row in records]


@pytest.mark.parametrize("codec", [NONE, ZSTD])
def test_only_the_names_that_are_no_utf_8_are_changed(codec: int) -> None:
    rows: list[Row] = [
        (0, [("ä", b"1")]),
        (1, [("a", b"\xff"), (RawName(b"h\xff\xfe"), None), (RawName(b"\xc3"), b"2")]),
        (2, []),
        (3, [(RawName(b"\xff"), b"3")]),
    ]
    assert seen(read(batch(*rows, codec=codec))) == [
        (0, 1_000, b"k0", b"v0", [("ä", b"1")]),
        (1, 1_001, b"k1", b"v1", [("a", b"\xff"), ("h??", None), ("?", b"2")]),
        (2, 1_002, b"k2", b"v2", []),
        (3, 1_003, b"k3", b"v3", [("?", b"3")]),
    ]


def test_each_batch_of_an_answer_keeps_its_own_records() -> None:
    clean = batch((0, [("a", b"1")]), (1, []))
    foreign = batch((0, []), (1, [(RawName(b"\xff"), b"1")]), codec=ZSTD)
    answer = clean + moved(foreign, 2) + moved(clean, 4) + moved(foreign, 6)
    assert [row.offset for row in read(answer)] == list(range(8))
    assert [row.headers for row in read(answer)][3] == [("?", b"1")]


def test_an_answer_without_such_names_is_read_as_ever() -> None:
    data = batch((0, [("a", b"1")]), (1, [("b", None)]))
    stock = MemoryRecords(data)
    records = AnyHeaders(data + data[:20])  # cut, as answers are
    assert records.size_in_bytes() == len(data) + 20
    expected, found = stock.next_batch(), records.next_batch()
    assert not records.has_next()
    for name in ("base_offset", "next_offset", "is_control_batch", "producer_id"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.validate_crc()
    assert seen(found) == seen(expected)


def test_consumers_of_this_process_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    read_any_headers()
    assert fetcher.MemoryRecords is AnyHeaders
