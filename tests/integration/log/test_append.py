"""Appending, the same on every log."""

import asyncio
import random
from collections import defaultdict

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable, RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log.keys import murmur2
from edgeferry.log.limits import MAX_RECORD_BYTES
from edgeferry.log.port import Log
from edgeferry.log.topics import TopicSettings
from tests.integration.log.conftest import OpenLog
from tests.integration.log.topics_of_tests import everything, make_topic, numbered, numbers, until

pytestmark = pytest.mark.asyncio


async def test_what_was_appended_stands_in_the_log_as_it_was(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    headers = [("traceparent", b"00-1"), ("empty", b""), ("traceparent", b"twice")]
    before = SystemClock().now_ms()
    await log.writer.append(
        [
            Outgoing(topic, b"key", b"\x00\xff", headers),
            Outgoing(topic, None, b""),
            Outgoing(topic, b"", b"x", tuple(headers)),
        ]
    )
    first, second, third = await everything(log.reader, topic)
    assert (first.topic, first.partition, first.offset) == (topic, 0, 0)
    assert (first.key, first.value, list(first.headers)) == (b"key", b"\x00\xff", headers)
    assert before <= first.timestamp <= SystemClock().now_ms()
    assert (second.key, second.value, list(second.headers)) == (None, b"", [])
    assert (third.key, list(third.headers)) == (b"", headers)


async def test_headers_may_have_any_name_and_any_length(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    headers = [
        *(("x" * size, bytes(size)) for size in (0, 1, 126, 127, 128, 254, 255, 256, 70_000)),
        ("größe-☃", b"\xff\x00"),
    ]
    await log.writer.append([Outgoing(topic, b"k", b"v", headers)])
    (row,) = await everything(log.reader, topic)
    assert list(row.headers) == headers


async def test_nothing_to_append_is_done_at_once(log: Log) -> None:
    await log.writer.append([])


async def test_appends_of_many_callers_keep_their_order_per_partition(
    log: Log, prefix: str
) -> None:
    topic = await make_topic(log.topics, prefix, 4)
    dice = random.Random(17)

    async def caller(name: int) -> None:
        sent = 0
        while sent < 300:
            count = dice.randint(1, 20)
            await log.writer.append(numbered(topic, sent, sent + count, b"caller-%d" % name))
            sent += count

    await asyncio.gather(*(caller(name) for name in range(40)))
    found: dict[bytes | None, list[int]] = defaultdict(list)
    for row in await everything(log.reader, topic):
        found[row.key].append(int(row.value or b""))
    assert len(found) == 40
    for values in found.values():
        assert values == list(range(len(values)))
        assert len(values) >= 300


async def test_appends_that_are_not_awaited_in_between_keep_their_order(
    log: Log, prefix: str
) -> None:
    topic = await make_topic(log.topics, prefix)
    appends = [
        asyncio.ensure_future(log.writer.append(numbered(topic, i, i + 1))) for i in range(500)
    ]
    await asyncio.gather(*appends)
    assert await numbers(log.reader, topic) == list(range(500))


async def test_one_large_append_keeps_its_order(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append([Outgoing(topic, b"k", b"%6d" % i + b" " * 40_000) for i in range(120)])
    found = [int((row.value or b"")[:6]) for row in await everything(log.reader, topic)]
    assert found == list(range(120))


async def test_an_append_of_many_small_records_keeps_its_order(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 2)
    await log.writer.append(numbered(topic, 0, 3_000, b"a") + numbered(topic, 0, 1_025, b"b"))
    found: dict[bytes | None, list[int]] = defaultdict(list)
    for row in await everything(log.reader, topic):
        found[row.key].append(int(row.value or b""))
    assert found == {b"a": list(range(3_000)), b"b": list(range(1_025))}


async def test_a_caller_that_gives_up_leaves_the_others_alone(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    gone = asyncio.create_task(log.writer.append(numbered(topic, 0, 1)))
    stays = asyncio.create_task(log.writer.append(numbered(topic, 1, 2)))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert (await numbers(log.reader, topic))[-1] == 1


async def test_records_without_a_key_find_a_partition(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 4)
    await log.writer.append(numbered(topic, 0, 100, key=None))
    assert sorted(await numbers(log.reader, topic)) == list(range(100))


async def test_every_key_has_the_partition_of_its_hash(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 12)
    keys = [b"%032x" % random.Random(i).getrandbits(128) for i in range(100)]
    keys += [bytes(range(length)) for length in range(1, 40)]
    await log.writer.append([Outgoing(topic, key, key) for key in keys])
    rows = await everything(log.reader, topic)
    assert {row.value: row.partition for row in rows} == {
        key: (murmur2(key) & 0x7FFFFFFF) % 12 for key in keys
    }


class TestTooLarge:
    async def test_a_record_above_the_limit_is_refused_at_once(self, log: Log, prefix: str) -> None:
        topic = await make_topic(log.topics, prefix)
        assert log.writer.max_record_bytes == MAX_RECORD_BYTES
        large = Outgoing(topic, b"k", b"x" * (MAX_RECORD_BYTES + 1))
        with pytest.raises(RecordTooLarge, match=f"1000001 bytes for {topic} .* 1000000 bytes"):
            await log.writer.append([*numbered(topic, 0, 1), large])
        await log.writer.append(numbered(topic, 1, 2))
        assert await numbers(log.reader, topic) == [1]

    async def test_a_record_of_exactly_the_limit_is_taken_whatever_its_key_and_headers(
        self, log: Log, prefix: str
    ) -> None:
        topic = await make_topic(log.topics, prefix)
        headers = [("large", b"x" * 500_000)]
        row = Outgoing(topic, b"k" * 100_000, random.randbytes(MAX_RECORD_BYTES), headers)
        await log.writer.append([*numbered(topic, 0, 1), row, *numbered(topic, 1, 2)])
        assert [len(row.value or b"") for row in await everything(log.reader, topic)] == [
            1,
            MAX_RECORD_BYTES,
            1,
        ]

    async def test_a_dead_letter_of_the_largest_record_is_taken(
        self, log: Log, prefix: str
    ) -> None:
        topic = f"{prefix}.dead-letters"
        await log.topics.ensure([TopicSettings(topic, "DeadLetter", 1, None)])
        letter = random.randbytes(2 * 1024 * 1024 + 10_000)
        await log.writer.append([Outgoing(topic, b"k", letter)])
        assert [row.value for row in await everything(log.reader, topic)] == [letter]

    async def test_what_is_too_large_for_its_headers_hurts_its_own_caller_alone(
        self, log: Log, prefix: str
    ) -> None:
        topic = await make_topic(log.topics, prefix, 4)
        refused = Outgoing(topic, b"huge", b"x", [("huge", random.randbytes(3_000_000))])
        answers = await asyncio.gather(
            log.writer.append(numbered(topic, 0, 50, b"a")),
            log.writer.append([refused]),
            log.writer.append(numbered(topic, 50, 100, b"b")),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), RecordTooLarge, type(None)]
        await log.writer.append(numbered(topic, 100, 150, b"huge"))
        assert sorted(set(await numbers(log.reader, topic))) == list(range(150))


class TestUnknownTopic:
    async def test_it_is_a_clear_error_and_passes_once_the_topic_is_made(
        self, log: Log, prefix: str
    ) -> None:
        rows = numbered(prefix, 0, 3)
        async with asyncio.timeout(10):
            with pytest.raises(
                LogUnavailable,
                match=f"topic {prefix} does not exist: run `edgeferry topics apply`",
            ):
                await log.writer.append(rows)
        await make_topic(log.topics, prefix)

        async def passes() -> bool:
            try:
                await log.writer.append(rows)
            except LogUnavailable:
                return False
            return True

        await until(passes, "the topic is not known")
        assert await numbers(log.reader, prefix) == [0, 1, 2]

    async def test_it_hurts_its_own_caller_alone(self, log: Log, prefix: str) -> None:
        topic = await make_topic(log.topics, f"{prefix}.known")
        answers = await asyncio.gather(
            log.writer.append(numbered(topic, 0, 1)),
            log.writer.append([*numbered(topic, 1, 2), *numbered(f"{prefix}.unknown", 0, 1)]),
            log.writer.append(numbered(topic, 2, 3)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [type(None), LogUnavailable, type(None)]
        assert await numbers(log.reader, topic) == [0, 2]


class TestStop:
    async def test_what_waits_is_written(self, log: Log, open_log: OpenLog, prefix: str) -> None:
        topic = await make_topic(log.topics, prefix)
        appends = [
            asyncio.create_task(log.writer.append(numbered(topic, i, i + 1))) for i in range(50)
        ]
        await asyncio.sleep(0)
        await log.stop()
        await asyncio.gather(*appends)
        fresh = open_log(True)
        await fresh.start()
        assert await numbers(fresh.reader, topic) == list(range(50))
        await fresh.stop()

    async def test_appends_that_come_later_are_refused(self, log: Log, prefix: str) -> None:
        topic = await make_topic(log.topics, prefix)
        await log.stop()
        with pytest.raises(LogUnavailable, match="closing"):
            await log.writer.append(numbered(topic, 0, 1))

    async def test_a_log_that_was_never_used_stops(self, log: Log) -> None:
        await log.stop()
        await log.stop()

    async def test_a_writer_of_ones_own_ends_alone(self, log: Log, prefix: str) -> None:
        topic = await make_topic(log.topics, prefix)
        own = log.new_writer()
        assert own.max_record_bytes == log.writer.max_record_bytes
        waiting = asyncio.create_task(own.append(numbered(topic, 0, 1)))
        await asyncio.sleep(0)
        await own.stop()
        await waiting
        with pytest.raises(LogUnavailable, match="closing"):
            await own.append(numbered(topic, 1, 2))
        await log.writer.append(numbered(topic, 2, 3))
        assert await numbers(log.reader, topic) == [0, 2]


async def test_a_tool_appends_beside_the_site(log: Log, beside: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 3))
    waiting = asyncio.create_task(log.reader.read(topic, 0, 3, 1_000_000, 30_000))
    await beside.writer.append(numbered(topic, 3, 5))
    assert [int(row.value or b"") for row in await waiting] == [3, 4]
    await log.writer.append(numbered(topic, 5, 7))
    await beside.writer.append(numbered(topic, 7, 9))
    assert await numbers(beside.reader, topic) == list(range(9))

    async def seen() -> bool:
        return await numbers(log.reader, topic) == list(range(9))

    await until(seen, "the site does not see what the tool has appended")
