"""The store on Cassandra: the Cloud's."""

import asyncio

from edgeferry.core.clock import Clock
from edgeferry.store.cassandra_attributes import CassandraAttributes
from edgeferry.store.cassandra_edge_events import CassandraEdgeEvents
from edgeferry.store.cassandra_entities import CassandraEntities
from edgeferry.store.cassandra_positions import CassandraPositions
from edgeferry.store.cassandra_rpcs import CassandraRpcs
from edgeferry.store.cassandra_session import CassandraSession, Tuning
from edgeferry.store.cassandra_timeseries import CassandraTimeseries
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.options import CassandraOptions
from edgeferry.store.seal import Seal


class CassandraStore:
    """The port core.store.Store.

    start raises StoreUnavailable (Later), naming the address, when no server answers: the
    caller tries again; StoreUnusable when the key cannot be used."""

    def __init__(
        self,
        *,
        settings: CassandraOptions,
        seal: Seal,
        clock: Clock,
        metrics: StoreMetrics,
        tuning: Tuning | None = None,
    ) -> None:
        tuning = tuning or Tuning()
        self._session = CassandraSession(
            options=settings, clock=clock, metrics=metrics, tuning=tuning
        )
        self.timeseries = CassandraTimeseries(
            session=self._session,
            partitioning=settings.ts_partitioning,
            clock=clock,
            metrics=metrics,
            cached_keys=tuning.cached_keys,
        )
        self.attributes = CassandraAttributes(session=self._session, clock=clock)
        self.positions = CassandraPositions(session=self._session, clock=clock)
        self._seal = seal
        self.entities = CassandraEntities(session=self._session, clock=clock, seal=self._seal)
        self.rpcs = CassandraRpcs(session=self._session, clock=clock)
        self.edge_events = CassandraEdgeEvents(session=self._session, clock=clock)

    async def start(self) -> None:
        await asyncio.to_thread(self._seal.open)
        await self._session.start()
        try:
            await self.entities.check_key()
        except BaseException:
            await self._session.stop()
            raise

    async def stop(self) -> None:
        await self._session.stop()

    async def ping(self) -> None:
        await self._session.ping()
