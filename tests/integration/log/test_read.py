"""Reading by offset and offsets of groups, the same on every log."""

import asyncio

import pytest

from edgeferry.core.errors import LogUnavailable, OffsetOutOfRange
from edgeferry.core.record import LogReader, Outgoing
from edgeferry.log import kafka_reader as kafka_reader_module
from edgeferry.log.port import Log
from tests.integration.log.topics_of_tests import everything, make_topic, numbered, rule_topic

pytestmark = pytest.mark.asyncio

MOST = 10_000_000


async def _read(
    reader: LogReader, topic: str, offset: int, *, partition: int = 0, max_bytes: int = MOST
) -> list[int]:
    """Numbers in the records of one read that waits until there are some."""
    rows = await reader.read(topic, partition, offset, max_bytes, 10_000)
    assert [row.offset for row in rows] == list(range(offset, offset + len(rows)))
    return [int(row.value or b"") for row in rows]


async def test_reading_starts_at_the_offset_that_was_asked_for(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 10))
    assert await _read(log.reader, topic, 7) == [7, 8, 9]
    assert await _read(log.reader, topic, 0) == list(range(10))
    assert await _read(log.reader, topic, 9) == [9]


async def test_reading_goes_on_where_the_last_read_ended(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 3))
    assert await _read(log.reader, topic, 0) == [0, 1, 2]
    waiting = asyncio.create_task(_read(log.reader, topic, 3))
    await log.writer.append(numbered(topic, 3, 5))
    assert await waiting == [3, 4]


async def test_readers_of_one_partition_do_not_disturb_each_other(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 2)
    await log.writer.append(numbered(topic, 0, 1, b"a"))
    ends = await log.reader.ends(topic)
    (partition,) = [number for number, end in ends.items() if end.end]
    waiting = [
        asyncio.create_task(_read(log.reader, topic, 1, partition=partition)),
        asyncio.create_task(_read(log.reader, topic, 0, partition=partition)),
        asyncio.create_task(log.reader.read(topic, 1 - partition, 0, MOST, 200)),
    ]
    await asyncio.sleep(0)
    await log.writer.append(numbered(topic, 1, 2, b"a"))
    first, both, none = await asyncio.gather(*waiting)
    assert first == [1]
    assert both in ([0], [0, 1])
    assert list(none) == []


async def test_a_read_without_records_waits_as_long_as_it_was_told(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 1))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await log.reader.read(topic, 0, 1, MOST, 300) == []
    assert 0.25 < loop.time() - began < 5
    assert await log.reader.read(topic, 0, 1, MOST, 0) == []


async def test_a_read_ends_at_the_bytes_it_was_given_and_loses_nothing(
    log: Log, prefix: str
) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(
        [Outgoing(topic, b"0123456789", b"%2d" % i + b" " * 88) for i in range(20)]
    )
    found: list[int] = []
    for _ in range(7):
        rows = await _read(log.reader, topic, len(found), max_bytes=350)
        assert len(rows) <= 3
        found += rows
    assert found == list(range(20))
    for offset in (5, 0, 11):  # what was fetched beyond a read is of no use elsewhere
        rows = await _read(log.reader, topic, offset, max_bytes=350)
        assert rows == list(range(offset, offset + 3))


async def test_a_record_larger_than_the_bytes_comes_alone(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 3))
    assert await _read(log.reader, topic, 0, max_bytes=0) == [0]
    assert await _read(log.reader, topic, 1, max_bytes=1) == [1]


async def test_an_offset_that_the_log_no_longer_holds_is_a_loss_to_report(
    log: Log, prefix: str
) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 10))
    assert await _read(log.reader, topic, 0) == list(range(10))
    assert await log.topics.drop(topic, {0: 6}) == 6
    with pytest.raises(OffsetOutOfRange, match="no longer holds"):
        await log.reader.read(topic, 0, 3, MOST, 10_000)
    assert (await log.reader.ends(topic))[0] == (6, 10)
    assert await _read(log.reader, topic, 6) == [6, 7, 8, 9]


async def test_ends_are_those_of_every_partition(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 3)
    assert dict(await log.reader.ends(topic)) == dict.fromkeys(range(3), (0, 0))
    await log.writer.append(numbered(topic, 0, 5, b"one key"))
    assert sorted((await log.reader.ends(topic)).values()) == [(0, 0), (0, 0), (0, 5)]


async def test_partitions_are_read_at_the_same_time(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 4)
    await log.writer.append(
        [row for i in range(64) for row in numbered(topic, i, i + 1, b"%d" % i)]
    )
    found = await asyncio.gather(*(log.reader.read(topic, p, 0, MOST, 10_000) for p in range(4)))
    assert sorted(int(row.value or b"") for rows in found for row in rows) == list(range(64))


async def test_what_was_read_is_the_same_after_a_restart(
    log: Log, beside: Log, prefix: str
) -> None:
    topic = await make_topic(log.topics, prefix, 2)
    headers = [("origin", b"edge"), ("type", b"x" * 300)]
    await log.writer.append(
        [Outgoing(topic, b"%d" % (i % 7), b"%d" % i, headers) for i in range(2_000)]
    )
    rows = [row._replace(headers=list(row.headers)) for row in await everything(log.reader, topic)]
    assert len(rows) == 2_000
    again = await everything(beside.reader, topic)
    assert [row._replace(headers=list(row.headers)) for row in again] == rows


async def test_commits_stand_until_the_next(log: Log, beside: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 3)
    await log.writer.append(
        [row for i in range(99) for row in numbered(topic, i, i + 1, b"%d" % i)]
    )
    group = f"{topic}.group"
    assert await log.reader.committed(group, topic) == {}
    await log.reader.commit(group, topic, {0: 5, 2: 7})
    assert await log.reader.committed(group, topic) == {0: 5, 2: 7}
    await log.reader.commit(group, topic, {0: 6})
    assert await beside.reader.committed(group, topic) == {0: 6, 2: 7}
    assert await log.reader.committed(f"{topic}.other", topic) == {}


async def test_an_unknown_topic_says_what_to_do(
    log: Log, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_reader_module, "_METADATA_TIMEOUT_MS", 500)
    for call in (
        log.reader.ends(prefix),
        log.reader.committed("group", prefix),
    ):
        with pytest.raises(LogUnavailable, match="run `edgeferry topics apply`"):
            await call


async def test_a_topic_that_was_made_anew_is_read_from_its_start(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 5))
    assert await _read(log.reader, topic, 3) == [3, 4]
    await log.topics.delete([topic])
    await log.topics.ensure([rule_topic(topic)])
    writer = log.new_writer()
    await writer.append(numbered(topic, 10, 12))
    await writer.stop()
    with pytest.raises(OffsetOutOfRange):
        await log.reader.read(topic, 0, 5, MOST, 10_000)
    assert await _read(log.reader, topic, 0) == [10, 11]
