"""Time series in Cassandra: the saving half and the port."""

import asyncio
from collections.abc import Iterable, Sequence

from edgeferry.core.clock import Clock
from edgeferry.core.errors import Unstorable
from edgeferry.core.merge import newest_allowed_for_latest, whole_time
from edgeferry.core.node import TimeseriesWrite
from edgeferry.core.store import DeletedKey, TimeseriesDelete
from edgeferry.store.cassandra_cache import UNKNOWN_STAMP, Cache, Entity, EntityKey
from edgeferry.store.cassandra_deletes import CassandraDeletes
from edgeferry.store.cassandra_loading import Loader, Missing
from edgeferry.store.cassandra_plan import Plan, Planner, Target
from edgeferry.store.cassandra_reads import CassandraReads
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import WriteStatements
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.options import Partitioning
from edgeferry.store.partitions import windows
from edgeferry.store.timeseries_reads import TimeseriesReads
from edgeferry.store.values import check_delete, check_writes, key_bytes


class CassandraTimeseries(TimeseriesReads):
    """The port core.store.TimeseriesStore.

    Saves are decided one after another, in the order of their calls, and written side by
    side. One process owns a key at a time (its input partition); the runner says when that
    changes."""

    _reads: CassandraReads

    def __init__(
        self,
        *,
        session: CassandraSession,
        partitioning: Partitioning,
        clock: Clock,
        metrics: StoreMetrics,
        cached_keys: int,
    ) -> None:
        self._session = session
        self._clock = clock
        self._metrics = metrics
        self._window = windows(partitioning)
        self._reads = CassandraReads(session=session, partitioning=partitioning)
        self._deletes = CassandraDeletes(session=session, reads=self._reads)
        self._loader = Loader(
            session=session, clock=clock, listed_from_start=partitioning == "INDEFINITE"
        )
        self._planner = Planner(WriteStatements(session))
        self._cache = Cache(cached_keys)
        self._deciding = asyncio.Lock()
        self._under_way: dict[asyncio.Future[None], frozenset[EntityKey]] = {}

    async def save(self, writes: Sequence[TimeseriesWrite]) -> None:
        """Raises StoreUnavailable (some may stand), Unstorable (with the write's index, and
        nothing stands, where the server was not asked)."""
        if not writes:
            return
        check_writes(writes)
        async with self._deciding:
            plan, rows = await self._decide(writes)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._under_way[done] = frozenset(entity.key for entity in plan.entities)
        try:
            if rows:
                await self._session.write(rows)
        except BaseException:
            _forget(plan.entities)
            raise
        else:
            self._saved(plan)
        finally:
            del self._under_way[done]
            done.set_result(None)

    async def _decide(self, writes: Sequence[TimeseriesWrite]) -> tuple[Plan, list[bytes]]:
        targets, missing = self._targets(writes)
        while missing:
            await self._settled(missing)
            await self._loader.load(missing.values())
            targets, missing = self._targets(writes)
        plan = Plan()
        try:
            self._planner.plan(plan, writes, targets, self._clock.now_ms())
            if plan.questions:
                await self._settled({question.entity.key for question in plan.questions})
                stored = await self._loader.stamps(plan.questions)
                self._planner.answer(plan, writes, stored)
            return plan, self._planner.rows(plan)
        except BaseException:
            _forget(plan.entities)
            raise

    def _targets(
        self, writes: Sequence[TimeseriesWrite]
    ) -> tuple[list[Target], dict[EntityKey, Missing]]:
        """Where each write goes, and what has to be read first."""
        find, window_of = self._cache.find, self._window
        targets: list[Target] = []
        missing: dict[EntityKey, Missing] = {}
        for index, (entity_type, entity_id, ts, _, values, _, history, _) in enumerate(writes):
            key = (entity_type, entity_id)
            entity = find(key)
            if entity is None:
                entity = self._new_entity(key, index)
            window = entity.window
            if not window.start <= ts < window.end:
                window = entity.window = window_of(ts)
            keys = entity.partitions.get(window.start, {}) if history else {}
            lacks_history = history and not values.keys() <= keys.keys()
            # also for history alone: what was deleted lately stands beside latest
            lacks_latest = not values.keys() <= entity.latest.keys()
            if lacks_history or lacks_latest:
                _check_keys(values, index)
                if (one := missing.get(key)) is None:
                    one = missing[key] = Missing(entity)
                if lacks_history:
                    lacking = one.history.setdefault(window.start, set())
                    lacking |= values.keys() - keys.keys()
                if lacks_latest:
                    one.latest |= values.keys() - entity.latest.keys()
            targets.append(Target(entity, window.start, keys))
        return targets, missing

    def _new_entity(self, key: EntityKey, index: int) -> Entity:
        try:
            return self._cache.make(key)
        except Unstorable as error:
            raise Unstorable(str(error), index) from None

    async def _settled(self, entities: Iterable[EntityKey]) -> None:
        """Wait for the saves under way that touch any of these: a read must not miss them."""
        wanted = set(entities)
        waiting = [done for done, keys in self._under_way.items() if not wanted.isdisjoint(keys)]
        if waiting:
            await asyncio.wait(waiting)

    def _saved(self, plan: Plan) -> None:
        for slot in plan.unlisted:
            slot.listed = True
        self._cache.used(plan.entities)
        if plan.future_values:
            self._metrics.future_ts(plan.future_values)
        if plan.latest_full:
            self._metrics.latest_full(plan.latest_full)

    async def delete(self, delete: TimeseriesDelete) -> Sequence[DeletedKey]:
        """Raises StoreUnavailable (some may be deleted), Unstorable (nothing is deleted)."""
        check_delete(delete)
        key = (delete.entity_type, delete.entity_id)
        newest = newest_allowed_for_latest(self._clock.now_ms())
        async with self._deciding:
            await self._settled([key])
            entity = self._cache.find(key)
            try:
                return await self._deletes.delete(delete, _known(entity), newest)
            finally:
                if entity is not None:
                    entity.forget()

    async def delete_entity(self, entity_type: str, entity_id: str, stamp: int) -> None:
        """Raises StoreUnavailable (some may be deleted), Unstorable (nothing is deleted)."""
        start, end, _, _ = whole_time(stamp)
        delete = TimeseriesDelete(entity_type, entity_id, (), start, end, stamp)
        check_delete(delete)
        keys = await self._reads.keys(entity_type, entity_id, deleted=True)
        await self.delete(delete._replace(keys=keys))

    def ownership_changed(self) -> None:
        self._cache.clear()


def _check_keys(values: Iterable[str], index: int) -> None:
    try:
        for key in values:
            key_bytes(key)
    except Unstorable as error:
        raise Unstorable(str(error), index) from None


def _known(entity: Entity | None) -> dict[str, tuple[int, int]]:
    """Key -> ts and stamp of its latest value, where both are remembered."""
    latest = {} if entity is None else entity.latest
    return {key: (one.ts, one.stamp) for key, one in latest.items() if one.stamp != UNKNOWN_STAMP}


def _forget(entities: Iterable[Entity]) -> None:
    for entity in entities:
        entity.forget()
