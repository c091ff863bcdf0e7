"""Topics of the SQLite log: made, described, trimmed; lag of groups."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeferry.core.errors import LogUnusable, Stop
from edgeferry.core.ids import new_token
from edgeferry.log.port import PartitionLag
from edgeferry.log.sqlite_reader import SqliteLogReader, first_since, total_below
from edgeferry.log.sqlite_records import create_records, records_table
from edgeferry.log.sqlite_state import At, Bounds, State, Topic
from edgeferry.log.sqlite_transaction import Transaction
from edgeferry.log.sqlite_writer import Alone, Change, SqliteLogWriter
from edgeferry.log.topics import TopicSettings

ROWS_PER_TRIM = 4_000
"""Of one transaction: appends wait for it."""

_FREE_PAGES = 2_048
"""Fewer are left for what comes next."""
_PAGES_PER_VACUUM = 1_000


class SqliteTopics:
    """The half of the SQLite log that is ``log.port.Topics``."""

    def __init__(
        self, *, path: Path, owner: bool, writer: SqliteLogWriter, reader: SqliteLogReader
    ) -> None:
        self._path = path
        self._owner = owner
        self._writer = writer
        self._reader = reader

    def _state(self) -> State:
        """What is durable now. Raises LogUnavailable."""
        raise NotImplementedError

    async def ensure(self, topics: Sequence[TopicSettings]) -> Sequence[str]:
        """See ``Topics.ensure``. A topic's retention follows its settings."""
        known = self._state().topics
        _check_partitions(topics, known)
        if all(_as_wanted(topic, known) for topic in topics):
            return []
        self._need_ownership("make topics")
        made: Sequence[str] = await self._writer.write(Change(lambda t: _ensure(t, topics)))
        return made

    async def partitions(self) -> Mapping[str, int]:
        """See ``Topics.partitions``."""
        return {name: topic.partitions for name, topic in self._state().topics.items()}

    async def delete(self, topics: Sequence[str]) -> None:
        """See ``Topics.delete``. Offsets of groups go with them."""
        self._need_ownership("delete topics")
        await self._writer.write(Change(lambda t: _delete(t, topics)))
        await self.shrink()

    async def topic_id(self, topic: str) -> str:
        """See ``Topics.topic_id``."""
        return self._state().topic(topic).uid

    async def lag(self, group: str, topics: Sequence[str]) -> Sequence[PartitionLag]:
        """See ``Topics.lag``."""
        state = self._state()
        return [
            PartitionLag(
                name,
                partition,
                state.committed.get((group, name, partition)),
                bounds.start,
                bounds.end,
            )
            for name in topics
            if name in state.topics
            for partition, bounds in state.partitions_of(name)
        ]

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        """See ``Topics.lags``."""
        return {group: await self.lag(group, topics) for group, topics in readers.items()}

    async def trim(self, readers: Mapping[str, Sequence[str]], before_ms: int) -> int:
        """See ``Topics.trim``."""
        below: dict[At, int] = {}
        for rows in (await self.lags(readers)).values():
            for row in rows:
                at = (row.topic, row.partition)
                below[at] = min(below.get(at, row.end), row.committed or 0)
        return await self._drop(below, before_ms)

    async def drop(self, topic: str, below: Mapping[int, int]) -> int:
        """See ``Topics.drop``."""
        return await self._drop({(topic, partition): at for partition, at in below.items()}, None)

    async def expire(self, now_ms: int) -> int:
        """Delete what is older than its topic's retention; how many records."""
        count = 0
        for name, topic in self._state().topics.items():
            if topic.retention_ms is not None:
                ends = self._state().partitions_of(name)
                below = {(name, partition): bounds.end for partition, bounds in ends}
                count += await self._drop(below, now_ms - topic.retention_ms)
        return count

    async def held_bytes(self, topic: str, partition: int, offset: int) -> int | None:
        """See ``Topics.held_bytes``."""
        bounds = self._state().of(topic, partition)
        return bounds.total - self._reader.near(lambda c: total_below(c, bounds, offset))

    async def shrink(self) -> None:
        """Give back to the disk what is free in the file, when it is worth it."""
        while await self._writer.write(Alone(_shrink)):
            pass

    async def _drop(self, below: Mapping[At, int], before_ms: int | None) -> int:
        self._need_ownership("delete records")
        state = self._state()
        wanted = {
            at: (bounds, min(offset, bounds.end))
            for at, offset in below.items()
            if offset > (bounds := state.of(*at)).start
        }
        if before_ms is not None and wanted:
            wanted = await self._reader.far(lambda c: _aged(c, wanted, before_ms))
        count = 0
        for at, (bounds, offset) in wanted.items():
            for step in range(bounds.start, offset, ROWS_PER_TRIM):
                count += await self._trim_slice(at, bounds.place, min(step + ROWS_PER_TRIM, offset))
        if count:
            await self.shrink()
        return count

    async def _trim_slice(self, at: At, place: tuple[int, int], below: int) -> int:
        """Nothing, where the topic has been deleted or made anew since it was looked at."""

        def work(transaction: Transaction) -> int:
            bounds = transaction.state.bounds.get(at)
            if bounds is None or bounds.place != place:
                return 0
            transaction.trim(*at, below)
            return transaction.state.bounds[at].start - bounds.start

        deleted: int = await self._writer.write(Change(work))
        return deleted

    def _need_ownership(self, what: str) -> None:
        if not self._owner:
            raise LogUnusable(
                f"only the process that owns {self._path} may {what}: stop the site, or leave "
                "it to the site"
            )


def _as_wanted(topic: TopicSettings, known: Mapping[str, Topic]) -> bool:
    found = known.get(topic.name)
    return found is not None and found.retention_ms == topic.retention_ms


def _check_partitions(topics: Sequence[TopicSettings], known: Mapping[str, Topic]) -> None:
    """Raises Stop."""
    problems = [
        f"{topic.name}: has {known[topic.name].partitions} partitions, {topic.partitions} are "
        "wanted; the count of a live topic never changes"
        for topic in topics
        if topic.name in known and known[topic.name].partitions != topic.partitions
    ]
    if problems:
        raise Stop("\n".join(problems))


def _ensure(transaction: Transaction, topics: Sequence[TopicSettings]) -> Sequence[str]:
    state, execute, made = transaction.state, transaction.execute, []
    _check_partitions(topics, state.topics)
    for name, value, partitions, retention_ms in (
        (topic.name, topic.value, topic.partitions, topic.retention_ms) for topic in topics
    ):
        found = state.topics.get(name)
        if found is not None:
            execute("UPDATE topics SET retention_ms = ? WHERE id = ?", (retention_ms, found.id))
            state.topics[name] = found._replace(retention_ms=retention_ms)
            continue
        uid = new_token()
        number = execute(
            "INSERT INTO topics (name, uid, partitions, value, retention_ms) "
            "VALUES (?, ?, ?, ?, ?)",
            (name, uid, partitions, value, retention_ms),
        ).lastrowid
        assert number is not None
        state.topics[name] = Topic(number, uid, partitions, value, retention_ms)
        for partition in range(partitions):
            execute(create_records(records_table(number, partition)))
            execute("INSERT INTO partitions VALUES (?, ?, 0, 0)", (number, partition))
            state.bounds[name, partition] = Bounds((number, partition), 0, 0, 0, 0)
        made.append(name)
    return made


def _delete(transaction: Transaction, topics: Sequence[str]) -> None:
    transaction.flush()
    state, execute = transaction.state, transaction.execute
    for name in topics:
        state.topic(name)
    for name in dict.fromkeys(topics):
        topic = state.topics.pop(name)
        for partition in range(topic.partitions):
            execute(f"DROP TABLE {state.bounds.pop((name, partition)).table}")
            transaction.appended.pop((name, partition), None)
        for table in ("partitions", "group_offsets"):
            execute(f"DELETE FROM {table} WHERE topic = ?", (topic.id,))
        execute("DELETE FROM topics WHERE id = ?", (topic.id,))
        for at in [at for at in state.committed if at[1] == name]:
            del state.committed[at]


def _aged(
    connection: sqlite3.Connection, wanted: Mapping[At, tuple[Bounds, int]], before_ms: int
) -> dict[At, tuple[Bounds, int]]:
    return {
        at: (bounds, first_since(connection, bounds, before_ms, offset))
        for at, (bounds, offset) in wanted.items()
    }


def _shrink(connection: sqlite3.Connection) -> bool:
    """A slice of it; whether there is more to do."""
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    if free < _FREE_PAGES or free < pages // 2:
        return False
    connection.executescript(f"PRAGMA incremental_vacuum({_PAGES_PER_VACUUM})")
    return True
