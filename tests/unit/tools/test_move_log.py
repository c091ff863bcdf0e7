"""Topics copied into another log: each record once, in its key's order, also after a crash."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.core.record import Outgoing
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import TopicSettings
from edgeferry.tools.move_log import Spans, carried_over, copy_topic, held, summed

TOPIC = "edge.root"
KEYS = [b"a", b"b", b"c", b"d", b"e"]


class Halting:
    """A writer that leaves a part of an append and then fails."""

    def __init__(self, log: SqliteLog, leaving: int) -> None:
        self._log = log
        self._leaving = leaving
        self.max_record_bytes = log.max_record_bytes

    async def append(self, records: Sequence[Outgoing]) -> None:
        await self._log.append(records[: self._leaving])
        raise LogUnavailable("killed here")


async def opened(folder: Path, partitions: int) -> SqliteLog:
    log = SqliteLog(folder=folder, clock=ManualClock())
    await log.start()
    await log.ensure([TopicSettings(TOPIC, "RuleMessage", partitions, None)])
    return log


@pytest_asyncio.fixture
async def source(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = await opened(tmp_path / "source", 1)
    await log.append(
        [
            Outgoing(TOPIC, KEYS[number % 5], b"%d" % number, [("type", b"T%d" % (number % 3))])
            for number in range(100)
        ]
    )
    yield log
    await log.stop()


@pytest_asyncio.fixture
async def target(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = await opened(tmp_path / "target", 12)
    yield log
    await log.stop()


async def copy(source: SqliteLog, target: SqliteLog, spans: Spans, halt: int | None = None) -> int:
    counts: list[int] = []
    writer = target if halt is None else Halting(target, halt)
    await copy_topic(
        source=source, target=target, writer=writer, topic=TOPIC, spans=spans, say=counts.append
    )
    return sum(counts)


async def by_key(log: SqliteLog) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for partition, (start, end) in (await log.ends(TOPIC)).items():
        if start < end:
            for record in await log.read(TOPIC, partition, start, 10_000_000, 0):
                found.setdefault(record.key or b"", []).append(int(record.value or b""))
    return found


@pytest.mark.asyncio
async def test_what_is_to_be_read_comes_over_in_order(source: SqliteLog, target: SqliteLog) -> None:
    assert await copy(source, target, {0: (40, 100)}) == 60
    assert await by_key(target) == {
        key: list(range(40 + at, 100, 5)) for at, key in enumerate(KEYS)
    }
    wanted = await summed(source, TOPIC, {0: (40, 100)})
    assert wanted == await summed(target, TOPIC, await held(target, TOPIC))
    assert wanted.records == 60


@pytest.mark.asyncio
@pytest.mark.parametrize("left", [0, 1, 33, 100])
async def test_a_copy_that_was_cut_off_goes_on_without_repeats(
    source: SqliteLog, target: SqliteLog, left: int
) -> None:
    with pytest.raises(LogUnavailable):
        await copy(source, target, {0: (0, 100)}, halt=left)
    assert await copy(source, target, {0: (0, 100)}) == 100 - left
    assert await copy(source, target, {0: (0, 100)}) == 0
    assert await by_key(target) == {key: list(range(at, 100, 5)) for at, key in enumerate(KEYS)}


@pytest.mark.asyncio
async def test_records_without_a_key_come_over_once(source: SqliteLog, target: SqliteLog) -> None:
    await source.append([Outgoing(TOPIC, None, b"%d" % (number // 2)) for number in range(20)])
    with pytest.raises(LogUnavailable):
        await copy(source, target, {0: (100, 120)}, halt=7)
    assert await copy(source, target, {0: (100, 120)}) == 13
    assert sorted((await by_key(target))[b""]) == [number // 2 for number in range(20)]
    assert await summed(source, TOPIC, {0: (100, 120)}) == await summed(
        target, TOPIC, await held(target, TOPIC)
    )


@pytest.mark.asyncio
async def test_what_the_source_has_not_is_told(source: SqliteLog, target: SqliteLog) -> None:
    await target.append([Outgoing(TOPIC, b"x", b"1"), Outgoing(TOPIC, b"x", b"2")])
    with pytest.raises(Stop, match=r"edge\.root has 2 records in the target that are not of this"):
        await copy(source, target, {0: (0, 100)})


@pytest.mark.asyncio
@pytest.mark.parametrize("change", [b"value", b"order", b"header"])
async def test_a_sum_tells_values_order_and_headers_apart(
    source: SqliteLog, target: SqliteLog, change: bytes
) -> None:
    records = [
        Outgoing(TOPIC, KEYS[number % 5], b"%d" % number, [("type", b"T%d" % (number % 3))])
        for number in range(100)
    ]
    if change == b"value":
        records[50] = records[50]._replace(value=b"x5")
    elif change == b"order":
        records[50], records[55] = records[55], records[50]
    else:
        records[50] = records[50]._replace(headers=[("type", b"T9")])
    await target.append(records)
    wanted = await summed(source, TOPIC, {0: (0, 100)})
    found = await summed(target, TOPIC, await held(target, TOPIC))
    assert wanted[:2] == found[:2]
    assert wanted.checksum != found.checksum


@pytest.mark.asyncio
@pytest.mark.parametrize("read", [40, 41, 57, 100, 30])
async def test_a_group_reads_on_where_it_was(
    source: SqliteLog, target: SqliteLog, read: int
) -> None:
    await copy(source, target, {0: (40, 100)})
    offsets = await carried_over(
        source=source, target=target, topic=TOPIC, spans={0: (40, 100)}, read={0: read}
    )
    ends = await target.ends(TOPIC)
    assert offsets.keys() == ends.keys()
    left = [
        int(record.value or b"")
        for partition, offset in offsets.items()
        if offset < ends[partition].end
        for record in await target.read(TOPIC, partition, offset, 10_000_000, 0)
    ]
    assert sorted(left) == list(range(max(read, 40), 100))
