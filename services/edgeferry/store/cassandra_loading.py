"""Reading into the cache what stands in Cassandra, many keys to a query."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.merge import FUTURE_LIMIT_MS, LATEST_SLOTS
from edgeferry.store.cassandra_cache import (
    NO_TS,
    NOTHING_STORED,
    UNKNOWN_STAMP,
    Entity,
    Sent,
    Stored,
)
from edgeferry.store.cassandra_deletes import deletions_of
from edgeferry.store.cassandra_plan import Place, Question
from edgeferry.store.cassandra_session import CassandraSession, Query, Row
from edgeferry.store.cassandra_statements import writetimes

KEYS_PER_QUERY = 128
TIMES_PER_QUERY = 64
QUERIES_IN_FLIGHT = 16

LAST_CQL = f"""
SELECT entity_id, key, ts, {writetimes()} FROM ts_kv_cf
WHERE entity_type = ? AND entity_id IN ? AND key IN ? AND partition = ?
ORDER BY ts DESC PER PARTITION LIMIT 1
"""
LATEST_CQL = """
SELECT entity_id, key, ts, writetime(ts), deletes FROM ts_kv_latest_cf
WHERE entity_type = ? AND entity_id IN ? AND key IN ?
"""
STAMPS_CQL = f"""
SELECT entity_id, key, ts, {writetimes()} FROM ts_kv_cf
WHERE entity_type = ? AND entity_id IN ? AND key IN ? AND partition = ? AND ts IN ?
"""

Found = dict[tuple[str, str], tuple[int, int | None]]
"""(entity id, key) -> ts and write timestamp of its row."""

FoundLatest = dict[tuple[str, str], Stored]


Group = TypeVar("Group")
Item = TypeVar("Item")


@dataclass(slots=True)
class Missing:
    """What the cache does not know yet of one entity."""

    entity: Entity
    history: dict[int, set[str]] = field(default_factory=dict)
    latest: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _StampQuery:
    """Asks for the product of its sets: it may get rows that nobody asked about."""

    entity_type: str
    partition: int
    entities: dict[str, Entity] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    times: set[int] = field(default_factory=set)

    def takes(self, entity: Entity, keys: set[str], times: set[int]) -> bool:
        """Add all of it, unless the query would grow too large."""
        all_keys, all_times = self.keys | keys, self.times | times
        if self.entities and (
            (len(self.entities) + 1) * len(all_keys) > KEYS_PER_QUERY
            or len(all_times) > TIMES_PER_QUERY
        ):
            return False
        self.entities[entity.key[1]] = entity
        self.keys, self.times = all_keys, all_times
        return True

    def cells(self) -> tuple[Any, ...]:
        ids = [UUID(one) for one in self.entities]
        return self.entity_type, ids, sorted(self.keys), self.partition, sorted(self.times)


class Loader:
    def __init__(self, *, session: CassandraSession, clock: Clock, listed_from_start: bool) -> None:
        self._session = session
        self._clock = clock
        self._listed = listed_from_start
        # not paged: the server cannot page what it sorts over partitions
        self._last = session.query(LAST_CQL, paged=False)
        self._latest = session.query(LATEST_CQL)
        self._stamps = session.query(STAMPS_CQL)
        self._slots = asyncio.Semaphore(QUERIES_IN_FLIGHT)

    async def load(self, missing: Iterable[Missing]) -> None:
        """Fill the entities. Raises StoreUnavailable; nothing is filled then."""
        histories: dict[tuple[str, int, frozenset[str]], list[Missing]] = {}
        latests: dict[tuple[str, frozenset[str]], list[Missing]] = {}
        for one in missing:
            entity_type = one.entity.key[0]
            for partition, keys in one.history.items():
                histories.setdefault((entity_type, partition, frozenset(keys)), []).append(one)
            if one.latest:
                latests.setdefault((entity_type, frozenset(one.latest)), []).append(one)
        last_rows = await asyncio.gather(
            *(self._find_last(*group, ids) for group, ids in _with_ids(histories))
        )
        latest_rows = await asyncio.gather(
            *(self._find_latest(*group, ids) for group, ids in _with_ids(latests))
        )
        for (group, members), found in zip(histories.items(), last_rows, strict=True):
            self._fill_history(group, members, found)
        for (latest_group, members), stored in zip(latests.items(), latest_rows, strict=True):
            _fill_latest(latest_group, members, stored)

    def _fill_history(
        self, group: tuple[str, int, frozenset[str]], members: list[Missing], found: Found
    ) -> None:
        _, partition, keys = group
        # Stamps are wall time where a message entered: none stored by now is above this.
        top = (self._clock.now_ms() + FUTURE_LIMIT_MS) * MICROS_PER_MS
        for one in members:
            entity_id = one.entity.key[1]
            for key in keys:
                row = found.get((entity_id, key))
                old_ts, old_stamp = (NO_TS, NO_TS) if row is None else (row[0], top)
                one.entity.add_history(partition, key, old_ts, old_stamp, self._listed)

    async def _find_last(
        self, entity_type: str, partition: int, keys: frozenset[str], ids: list[str]
    ) -> Found:
        cells = [
            (entity_type, chunk_ids, chunk_keys, partition)
            for chunk_ids, chunk_keys in _chunks(ids, keys)
        ]
        return _found(await self._ask(self._last, cells))

    async def _find_latest(
        self, entity_type: str, keys: frozenset[str], ids: list[str]
    ) -> FoundLatest:
        cells = [
            (entity_type, chunk_ids, chunk_keys) for chunk_ids, chunk_keys in _chunks(ids, keys)
        ]
        return {
            (str(entity_id), key): _stored(*row)
            for entity_id, key, *row in await self._ask(self._latest, cells)
        }

    async def stamps(self, questions: Iterable[Question]) -> dict[Place, int]:
        """The stamps that stand at the places asked about. Raises StoreUnavailable."""
        queries = list(_queries_of(questions))
        answers = await asyncio.gather(
            *(self._one(self._stamps, query.cells()) for query in queries)
        )
        stored: dict[Place, int] = {}
        for query, rows in zip(queries, answers, strict=True):
            for entity_id, key, ts, *stamps in rows:
                stamp = _first_of(stamps)
                if stamp is not None:
                    entity = query.entities[str(entity_id)]
                    stored[Place(entity, query.partition, key, ts)] = stamp
        return stored

    async def _ask(self, query: Query, cells: Iterable[tuple[Any, ...]]) -> list[Row]:
        answers = await asyncio.gather(*(self._one(query, one) for one in cells))
        return [row for rows in answers for row in rows]

    async def _one(self, query: Query, cells: tuple[Any, ...]) -> list[Row]:
        async with self._slots:
            return await self._session.rows(query, cells)


def _queries_of(questions: Iterable[Question]) -> Iterator[_StampQuery]:
    """Few queries for many places: entities that ask much the same share one."""
    wanted: dict[tuple[str, int], dict[Entity, tuple[set[str], set[int]]]] = {}
    for entity, partition, key, ts in (question.place for question in questions):
        entities = wanted.setdefault((entity.key[0], partition), {})
        keys, times = entities.setdefault(entity, (set(), set()))
        keys.add(key)
        times.add(ts)
    for (entity_type, partition), entities in wanted.items():
        query = _StampQuery(entity_type, partition)
        for entity, (keys, times) in entities.items():
            for some_keys, some_times in _portions(keys, times):
                if not query.takes(entity, some_keys, some_times):
                    yield query
                    query = _StampQuery(entity_type, partition)
                    query.takes(entity, some_keys, some_times)
        yield query


def _portions(keys: set[str], times: set[int]) -> Iterator[tuple[set[str], set[int]]]:
    for some_keys in _pieces(sorted(keys), KEYS_PER_QUERY):
        for some_times in _pieces(sorted(times), TIMES_PER_QUERY):
            yield set(some_keys), set(some_times)


def _pieces(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _fill_latest(
    group: tuple[str, frozenset[str]], members: list[Missing], found: FoundLatest
) -> None:
    _, keys = group
    for one in members:
        entity_id = one.entity.key[1]
        for key in keys:
            one.entity.add_latest(key, found.get((entity_id, key), NOTHING_STORED))


def _stored(ts: int | None, written: int | None, deletes: str | None) -> Stored:
    """A row whose timestamp its ts does not explain was put there by a delete, or by others."""
    deletions = deletions_of(deletes)
    if ts is None or written is None:
        return Stored(deletions=deletions)
    if ts == NO_TS:
        return Stored(floor=written, deletions=deletions)
    slot = written - ts * MICROS_PER_MS
    if slot < LATEST_SLOTS:
        return Stored(Sent(ts, max(slot, 0), UNKNOWN_STAMP), deletions=deletions)
    return Stored(Sent(ts, 0, UNKNOWN_STAMP), written, deletions)


def _with_ids(groups: dict[Group, list[Missing]]) -> Iterator[tuple[Group, list[str]]]:
    for group, members in groups.items():
        yield group, [one.entity.key[1] for one in members]


def _chunks(ids: Sequence[str], keys: frozenset[str]) -> Iterator[tuple[list[UUID], list[str]]]:
    """Pieces of the product of both, none above KEYS_PER_QUERY."""
    for some in _pieces(sorted(keys), KEYS_PER_QUERY):
        for few in _pieces(ids, max(KEYS_PER_QUERY // len(some), 1)):
            yield [UUID(one) for one in few], list(some)


def _found(rows: Iterable[Row]) -> Found:
    return {(str(entity_id), key): (ts, _first_of(stamps)) for entity_id, key, ts, *stamps in rows}


def _first_of(stamps: Iterable[Any]) -> int | None:
    """The write timestamp of the one column that is set."""
    return next((int(stamp) for stamp in stamps if stamp is not None), None)
