"""Time series in SQLite: history by (entity, key, ts), latest by (entity, key)."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from edgeferry.core.clock import Clock
from edgeferry.core.merge import whole_time
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import DeletedKey, TimeseriesDelete
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.sqlite_deletes import (
    EVERY_KEY,
    FORGET_OLD,
    Done,
    Ranges,
    SqliteDeletes,
    delete_entity,
    delete_keys,
    remember,
)
from edgeferry.store.sqlite_ids import SqliteIds, naming
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_timeseries_reads import SqliteTimeseriesReads
from edgeferry.store.sqlite_timeseries_rows import encode
from edgeferry.store.sqlite_writer import Execute, Job, SqliteWriter
from edgeferry.store.timeseries_reads import TimeseriesReads
from edgeferry.store.values import check_delete, check_writes

PURGE_EVERY_SECONDS = 1.0
PURGE_ROWS = 50_000
PURGE = (
    "DELETE FROM history WHERE (entity, key, ts) IN"
    " (SELECT entity, key, ts FROM history WHERE expires <= ? ORDER BY expires LIMIT ?)"
)

T = TypeVar("T")


class SqliteTimeseries(TimeseriesReads):
    """The port core.store.TimeseriesStore.

    A save that comes while a delete is under way waits for it: until that is durable nobody
    knows which of the values it deletes."""

    def __init__(
        self,
        *,
        writer: SqliteWriter,
        reader: SqliteReader,
        ids: SqliteIds,
        deletes: SqliteDeletes,
        clock: Clock,
        metrics: StoreMetrics,
    ) -> None:
        self._writer = writer
        self._reads = SqliteTimeseriesReads(reader=reader, clock=clock)
        self._ids = ids
        self._deletes = deletes
        self._deleting = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._clock = clock
        self._metrics = metrics
        self._next_purge = clock.monotonic()

    async def save(self, writes: Sequence[TimeseriesWrite]) -> None:
        """Raises StoreUnavailable, Unstorable (with the write's index; nothing is stored)."""
        if not writes:
            return
        check_writes(writes)
        await self._ids.resolve(writes)
        while self._deleting.locked():
            async with self._deleting:
                pass
            await self._ids.resolve(writes)
        job, future = encode(writes, self._ids, self._deletes, self._clock.now_ms())
        if job.cells:
            unsaved = self._ids.attach(job)
            self._add_purge(job)
            await self._writer.write(job)
            unsaved.saved()
        if future:
            self._metrics.future_ts(future)

    async def delete(self, delete: TimeseriesDelete) -> Sequence[DeletedKey]:
        """Raises StoreUnavailable, Unstorable (nothing is deleted)."""
        check_delete(delete)
        entity_type, entity_id, names = delete.entity_type, delete.entity_id, delete.keys
        done = await self._whole(self._delete(delete))
        gone = [name for name in names if done[name].latest_gone]
        latest = await self.latest(entity_type, entity_id, gone) if gone else []
        found = {entry.key: entry for entry in latest}
        return [DeletedKey(name, done[name].latest_gone, found.get(name)) for name in names]

    async def _delete(self, delete: TimeseriesDelete) -> Mapping[str, Done]:
        entity_type, entity_id, names = delete.entity_type, delete.entity_id, delete.keys
        async with self._deleting:
            await self._ids.resolve([naming(entity_type, entity_id, *names)])
            entity = self._ids.entities[entity_type, entity_id]
            keys = {name: self._ids.keys[name] for name in names}
            now = self._clock.now_ms()
            done = await self._write_delete(
                entity, lambda execute: delete_keys(execute, entity, keys.values(), delete, now)
            )
        return {name: done[number] for name, number in keys.items()}

    async def delete_entity(self, entity_type: str, entity_id: str, stamp: int) -> None:
        """Raises StoreUnavailable, Unstorable (nothing is deleted)."""
        new = whole_time(stamp)
        check_delete(TimeseriesDelete(entity_type, entity_id, (), new.start, new.end, stamp))
        await self._whole(self._delete_entity(entity_type, entity_id, stamp))

    async def _delete_entity(self, entity_type: str, entity_id: str, stamp: int) -> None:
        new = whole_time(stamp)
        async with self._deleting:
            await self._ids.resolve([naming(entity_type, entity_id)])
            entity = self._ids.entities[entity_type, entity_id]

            def work(execute: Execute) -> dict[int, Done]:
                delete_entity(execute, entity, stamp)
                return {EVERY_KEY: Done(new, True)}

            await self._write_delete(entity, work)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Also when its caller goes: a delete that is durable and not remembered would let a
        late write bring back what is gone."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it; when that has gone, nobody needs it

    async def _write_delete(
        self, entity: int, work: Callable[[Execute], dict[int, Done]]
    ) -> dict[int, Done]:
        """What ``work`` gives; its ranges are remembered with it."""
        oldest = self._deletes.forget_old()

        def all_of_it(execute: Execute) -> tuple[dict[int, Done], dict[int, Ranges]]:
            done = work(execute)
            new = {key: one.deletion for key, one in done.items()}
            ranges = self._deletes.with_new(entity, new)
            remember(execute, entity, ranges)
            if oldest is not None:
                execute(FORGET_OLD, (oldest,))
            return done, ranges

        job = Job()
        unsaved = self._ids.attach(job)
        done, ranges = await self._writer.run(all_of_it, job)
        unsaved.saved()
        self._deletes.deleted(entity, ranges)
        return done

    def ownership_changed(self) -> None:
        """Nothing is cached about stored values: SQL decides."""

    def _add_purge(self, job: Job) -> None:
        now = self._clock.monotonic()
        if now >= self._next_purge:
            self._next_purge = now + PURGE_EVERY_SECONDS
            job.statements.append((PURGE, (self._clock.now_ms(), PURGE_ROWS)))
