"""What the SQLite log knows of its file: topics, ends of partitions, offsets of groups."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import PartitionEnds
from edgeferry.log.sqlite_records import RecordsTable, records_table

At = tuple[str, int]
"""Topic and partition."""

GroupAt = tuple[str, str, int]
"""Group, topic and partition."""


class Topic(NamedTuple):
    id: int
    uid: str
    partitions: int
    value: str
    retention_ms: int | None


class Bounds(NamedTuple):
    """Of one partition. ``place``: the topic's number, and the partition. ``total``: bytes
    ever appended; ``start_total``: those of them that were below ``start``."""

    place: tuple[int, int]
    start: int
    end: int
    start_total: int
    total: int

    @property
    def table(self) -> RecordsTable:
        return records_table(*self.place)

    @property
    def ends(self) -> PartitionEnds:
        return PartitionEnds(self.start, self.end)


@dataclass(slots=True)
class State:
    """Whoever publishes one never changes it again."""

    topics: dict[str, Topic] = field(default_factory=dict)
    bounds: dict[At, Bounds] = field(default_factory=dict)
    committed: dict[GroupAt, int] = field(default_factory=dict)

    def draft(self) -> "State":
        return State(dict(self.topics), dict(self.bounds), dict(self.committed))

    def topic(self, name: str) -> Topic:
        """Raises LogUnavailable."""
        found = self.topics.get(name)
        if found is None:
            raise LogUnavailable(f"topic {name} does not exist: run `edgeferry topics apply`")
        return found

    def of(self, topic: str, partition: int) -> Bounds:
        """Raises LogUnavailable."""
        found = self.bounds.get((topic, partition))
        if found is None:
            count = self.topic(topic).partitions
            raise LogUnavailable(f"topic {topic} has {count} partitions and no {partition}")
        return found

    def partitions_of(self, topic: str) -> Iterable[tuple[int, Bounds]]:
        """Raises LogUnavailable."""
        return [(p, self.bounds[topic, p]) for p in range(self.topic(topic).partitions)]


def load_state(connection: sqlite3.Connection) -> State:
    """Inside a transaction. Raises sqlite3.Error."""
    state = State()
    names: dict[int, str] = {}
    for number, name, *rest in connection.execute(
        "SELECT id, name, uid, partitions, value, retention_ms FROM topics"
    ).fetchall():
        names[number] = name
        state.topics[name] = Topic(number, *rest)
    for number, partition, start, start_total in connection.execute(
        "SELECT topic, partition, start, start_total FROM partitions"
    ).fetchall():
        last = connection.execute(
            f"SELECT offset + 1, total FROM {records_table(number, partition)} "
            "ORDER BY offset DESC LIMIT 1"
        ).fetchone()
        end, total = last or (start, start_total)
        bounds = Bounds((number, partition), start, end, start_total, total)
        state.bounds[names[number], partition] = bounds
    for group, number, partition, offset in connection.execute(
        "SELECT group_name, topic, partition, offset FROM group_offsets"
    ).fetchall():
        state.committed[group, names[number], partition] = offset
    return state
