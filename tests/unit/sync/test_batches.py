"""Records on the wire."""

import pytest
import zstandard

from edgeferry.core.record import Record
from edgeferry.sync.batches import MAX_BATCH_BYTES, BatchPacker, BatchUnpacker, Event
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.sync_pb2 import Batch, Records, Shape


def record(offset: int, *, key: bytes | None = b"k", value: bytes | None = b"v") -> Record:
    headers = [("traceparent", b"00-%d" % offset), ("origin", b"edge")]
    return Record("t", 0, offset, 0, key, value, headers)


def packed(*records: Record, from_offset: int = 10) -> Batch:
    return BatchPacker().pack("lane", 1, from_offset, records).batch


def batch(body: Records, count: int) -> Batch:
    data = zstandard.ZstdCompressor().compress(body.SerializeToString())
    return Batch(lane="lane", epoch=1, from_offset=10, next_offset=10 + count, records=data)


def test_records_come_out_as_they_went_in() -> None:
    records = [record(10), record(11, key=None), record(12, value=None), record(13, key=b"")]
    events = BatchUnpacker().unpack(packed(*records))
    assert events == [Event(r.offset, r.key, r.value, r.headers) for r in records]


def test_headers_of_different_shapes_stay_with_their_records() -> None:
    records = [
        record(10),
        record(11)._replace(headers=[]),
        record(12)._replace(headers=[("origin", b"x"), ("origin", b"y")]),
        record(13),
    ]
    events = BatchUnpacker().unpack(packed(*records))
    assert [event.headers for event in events] == [r.headers for r in records]


def test_gaps_of_the_log_travel() -> None:
    sent = packed(record(12), record(15))
    assert (sent.from_offset, sent.next_offset) == (10, 16)
    assert [event.offset for event in BatchUnpacker().unpack(sent)] == [12, 15]


def test_a_batch_is_smaller_than_its_records() -> None:
    result = BatchPacker().pack("lane", 1, 0, [record(i, value=b"abc" * 90) for i in range(500)])
    assert len(result.batch.records) < result.size / 4


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (Records(keys=[b"k"], values=[]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape()]), 2),
        (Records(keys=[b"k"], values=[b"v"]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape(names=["a"])]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape()], header_values=[b"x"]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape()], shape_of=[4]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape()], null_keys=[1]), 1),
        (Records(keys=[b"k"], values=[b"v"], shapes=[Shape()], offsets=[9]), 1),
        (
            Records(keys=[b"k"] * 2, values=[b"v"] * 2, shapes=[Shape()], offsets=[11, 11]),
            2,
        ),
        (Records(), 0),
    ],
)
def test_a_body_that_does_not_fit_its_batch_is_refused(body: Records, count: int) -> None:
    with pytest.raises(ProtocolError):
        BatchUnpacker().unpack(batch(body, count))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zstd at all",
        zstandard.ZstdCompressor().compress(b"\xff" * 100),
        zstandard.ZstdCompressor().compress(b"x" * 1000)[:-3],
        zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000),
    ],
    ids=["empty", "garbage", "not protobuf", "cut", "no size"],
)
def test_bytes_that_are_no_batch_are_refused(data: bytes) -> None:
    broken = Batch(lane="lane", epoch=1, from_offset=10, next_offset=11, records=data)
    with pytest.raises(ProtocolError):
        BatchUnpacker().unpack(broken)


def test_a_decompression_bomb_is_refused_unread() -> None:
    bomb = zstandard.ZstdCompressor().compress(b"\0" * (MAX_BATCH_BYTES + 1))
    assert len(bomb) < 10_000
    broken = Batch(lane="lane", epoch=1, from_offset=10, next_offset=11, records=bomb)
    with pytest.raises(ProtocolError, match="at most"):
        BatchUnpacker().unpack(broken)
