"""What the log's writer decides without Kafka."""

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.port import PartitionLag

NOWHERE = "127.0.0.1:1"


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
