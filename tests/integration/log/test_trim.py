"""Trimming frees what everybody has read and nothing else, the same on every log."""

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.log.port import Log
from tests.integration.log.topics_of_tests import make_topic, numbered, numbers

pytestmark = pytest.mark.asyncio

LATER_MS = 3_600_000


async def _topic_with_ten(log: Log, name: str) -> str:
    topic = await make_topic(log.topics, name)
    await log.writer.append(numbered(topic, 0, 10))
    return topic


async def test_trimming_stops_at_the_slowest_reader(log: Log, prefix: str) -> None:
    topic = await _topic_with_ten(log, f"{prefix}.root")
    await log.reader.commit(f"{prefix}.fast", topic, {0: 9})
    await log.reader.commit(f"{prefix}.slow", topic, {0: 4})
    readers = {f"{prefix}.fast": [topic], f"{prefix}.slow": [topic]}
    assert await log.topics.trim(readers, SystemClock().now_ms() + LATER_MS) == 4
    assert (await log.reader.ends(topic))[0] == (4, 10)
    assert await numbers(log.reader, topic) == [4, 5, 6, 7, 8, 9]
    assert await log.topics.trim(readers, SystemClock().now_ms() + LATER_MS) == 0


async def test_a_reader_that_never_committed_holds_everything(log: Log, prefix: str) -> None:
    topic = await _topic_with_ten(log, f"{prefix}.root")
    await log.reader.commit(f"{prefix}.fast", topic, {0: 10})
    readers = {f"{prefix}.fast": [topic], f"{prefix}.new": [topic]}
    assert await log.topics.trim(readers, SystemClock().now_ms() + LATER_MS) == 0


async def test_what_was_read_a_moment_ago_stays_for_inspection(log: Log, prefix: str) -> None:
    topic = await _topic_with_ten(log, f"{prefix}.root")
    await log.reader.commit(f"{prefix}.fast", topic, {0: 10})
    readers = {f"{prefix}.fast": [topic]}
    assert await log.topics.trim(readers, SystemClock().now_ms() - LATER_MS) == 0
    assert await numbers(log.reader, topic) == list(range(10))


async def test_an_offset_is_never_given_twice_even_when_everything_was_trimmed(
    log: Log, prefix: str
) -> None:
    topic = await _topic_with_ten(log, f"{prefix}.root")
    await log.reader.commit(f"{prefix}.fast", topic, {0: 10})
    readers = {f"{prefix}.fast": [topic]}
    assert await log.topics.trim(readers, SystemClock().now_ms() + LATER_MS) == 10
    assert (await log.reader.ends(topic))[0] == (10, 10)
    assert await log.reader.read(topic, 0, 10, 1_000_000, 0) == []
    await log.writer.append(numbered(topic, 10, 12))
    assert (await log.reader.ends(topic))[0] == (10, 12)
    assert await numbers(log.reader, topic) == [10, 11]


async def test_dropping_asks_no_reader(log: Log, prefix: str) -> None:
    topic = await _topic_with_ten(log, f"{prefix}.root")
    await log.reader.commit(f"{prefix}.slow", topic, {0: 1})
    assert await log.topics.drop(topic, {0: 3}) == 3
    assert await log.topics.drop(topic, {0: 2}) == 0
    assert (await log.reader.ends(topic))[0] == (3, 10)
    assert await log.topics.drop(topic, {0: 99}) == 7
    assert (await log.reader.ends(topic))[0] == (10, 10)
