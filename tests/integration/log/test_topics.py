"""Topics, their identities and the lag of groups, the same on every log."""

import asyncio

import pytest

from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.log.port import Log, PartitionLag
from tests.integration.log.topics_of_tests import make_topic, numbered, rule_topic

pytestmark = pytest.mark.asyncio


async def test_ensuring_makes_what_is_missing_and_nothing_twice(log: Log, prefix: str) -> None:
    a, b = rule_topic(f"{prefix}.a", 3), rule_topic(f"{prefix}.b", 1)
    assert await log.topics.ensure([a]) == [a.name]
    assert await log.topics.ensure([a, b]) == [b.name]
    assert await log.topics.ensure([a, b]) == []
    assert await log.topics.ensure([]) == []
    counts = await log.topics.partitions()
    assert (counts[a.name], counts[b.name]) == (3, 1)


async def test_ensuring_twice_at_the_same_time_is_once(log: Log, prefix: str) -> None:
    topics = [rule_topic(f"{prefix}.{i}", 2) for i in range(5)]
    made = await asyncio.gather(*(log.topics.ensure(topics) for _ in range(4)))
    counts = await log.topics.partitions()
    assert all(counts[topic.name] == 2 for topic in topics)
    assert {name for names in made for name in names} == {topic.name for topic in topics}


async def test_another_number_of_partitions_stops_and_names_every_topic(
    log: Log, prefix: str
) -> None:
    names = [f"{prefix}.a", f"{prefix}.b"]
    await log.topics.ensure([rule_topic(name, 3) for name in names])
    wanted = [*(rule_topic(name, 4) for name in names), rule_topic(f"{prefix}.c")]
    with pytest.raises(Stop) as stopped:
        await log.topics.ensure(wanted)
    assert str(stopped.value).splitlines() == [
        f"{name}: has 3 partitions, 4 are wanted; the count of a live topic never changes"
        for name in names
    ]
    assert f"{prefix}.c" not in await log.topics.partitions()


async def test_lag_is_told_of_every_partition(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix, 2)
    group = f"{topic}.group"
    await log.writer.append(numbered(topic, 0, 10, b"one key"))
    ends = await log.reader.ends(topic)
    (used,) = [partition for partition, end in ends.items() if end.end]
    empty = 1 - used
    never = sorted(await log.topics.lag(group, [topic]))
    assert [(row.partition, row.committed, row.start) for row in never] == [
        (0, None, 0),
        (1, None, 0),
    ]
    assert sum(row.lag for row in never) == 10
    await log.reader.commit(group, topic, {used: 4})
    rows = {row.partition: row for row in await log.topics.lag(group, [topic])}
    assert rows[used] == PartitionLag(topic, used, 4, 0, 10)
    assert rows[used].lag == 6
    assert rows[empty].lag == 0


async def test_the_lag_of_several_groups_is_asked_at_once(log: Log, prefix: str) -> None:
    first, second = [await make_topic(log.topics, f"{prefix}.{name}") for name in ("one", "two")]
    await log.writer.append(numbered(first, 0, 5))
    await log.writer.append(numbered(second, 0, 3))
    await log.reader.commit(f"{prefix}.a", first, {0: 4})
    readers = {f"{prefix}.a": [first], f"{prefix}.b": [first, second], f"{prefix}.none": []}
    found = await log.topics.lags(readers)
    lags = {group: sum(row.lag for row in rows) for group, rows in found.items()}
    assert lags == {f"{prefix}.a": 1, f"{prefix}.b": 8, f"{prefix}.none": 0}


async def test_the_lag_of_no_topic_is_nothing(log: Log, prefix: str) -> None:
    assert await log.topics.lag("group", []) == []
    assert await log.topics.lag("group", [prefix]) == []


async def test_a_topic_made_anew_has_another_identity_and_is_empty(log: Log, prefix: str) -> None:
    topic = await make_topic(log.topics, prefix)
    await log.writer.append(numbered(topic, 0, 3))
    first = await log.topics.topic_id(topic)
    assert await log.topics.topic_id(topic) == first
    await log.topics.delete([topic])
    assert topic not in await log.topics.partitions()
    await make_topic(log.topics, topic)
    assert await log.topics.topic_id(topic) not in (first, "")
    assert (await log.reader.ends(topic))[0] == (0, 0)


async def test_an_unknown_topic_has_no_identity_and_cannot_be_deleted(
    log: Log, prefix: str
) -> None:
    with pytest.raises(LogUnavailable):
        await log.topics.topic_id(prefix)
    with pytest.raises(LogUnavailable):
        await log.topics.delete([prefix])
    await log.topics.delete([])
