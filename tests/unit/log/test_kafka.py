"""What the log's writer decides without Kafka."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log import kafka as kafka_module
from edgeferry.log.kafka import KafkaWriter, KeyHashes
from edgeferry.log.port import PartitionLag

NOWHERE = "127.0.0.1:1"


@given(st.binary(max_size=40))
def test_a_keys_hash_is_the_same_the_second_time(key: bytes) -> None:
    hashes = KeyHashes()
    assert hashes(key) == hashes(key) == KeyHashes()(key) >= 0


def test_known_hashes_are_java_clients() -> None:
    """org.apache.kafka.common.utils.UtilsTest.testMurmur2, made positive."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    for key, hash_ in known.items():
        assert KeyHashes()(key) == hash_ & 0x7FFFFFFF


def test_remembered_hashes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_module, "_KNOWN_KEYS", 10)
    hashes = KeyHashes()
    for i in range(100):
        hashes(b"%d" % i)
    assert len(hashes._known) <= 10


@pytest.mark.asyncio
async def test_a_record_above_the_limit_is_refused_without_asking_kafka() -> None:
    writer = KafkaWriter(NOWHERE, ManualClock(), max_record_bytes=10)
    assert writer.max_record_bytes == 10
    with pytest.raises(RecordTooLarge, match=r"11 bytes for edge\.root .* 10 bytes"):
        await writer.append([Outgoing("edge.root", b"k", b"x" * 11)])
    await writer.stop()


@pytest.mark.asyncio
async def test_a_stopped_writer_refuses_without_asking_kafka() -> None:
    writer = KafkaWriter(NOWHERE, ManualClock())
    await writer.stop()
    with pytest.raises(LogUnavailable, match="closing"):
        await writer.append([Outgoing("edge.root", b"k", b"x")])


def test_the_lag_of_a_group_that_never_committed_counts_from_the_logs_start() -> None:
    assert PartitionLag("t", 0, committed=None, start=4, end=10).lag == 6
    assert PartitionLag("t", 0, committed=7, start=4, end=10).lag == 3
