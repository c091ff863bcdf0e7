"""The store on Cassandra: the Cloud's."""

from cassandra.cluster import Session

from edgeferry.core.clock import Clock
from edgeferry.store.cassandra_attributes import CassandraAttributes
from edgeferry.store.cassandra_positions import CassandraPositions
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_timeseries import CassandraTimeseries
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.options import CassandraOptions


class CassandraStore:
    """The port core.store.Store. start raises StoreUnavailable (Later), naming the address,
    when no server answers: the caller tries again."""

    def __init__(self, *, settings: CassandraOptions, clock: Clock, metrics: StoreMetrics) -> None:
        self._session = CassandraSession(options=settings, clock=clock, metrics=metrics)
        self.timeseries = CassandraTimeseries(
            session=self._session,
            partitioning=settings.ts_partitioning,
            clock=clock,
            metrics=metrics,
        )
        self.attributes = CassandraAttributes(session=self._session)
        self.positions = CassandraPositions(session=self._session, clock=clock)

    async def start(self) -> None:
        await self._session.start(self._prepare)

    def _prepare(self, session: Session) -> None:
        self.timeseries.prepare(session)
        self.attributes.prepare(session)
        self.positions.prepare(session)

    async def stop(self) -> None:
        await self._session.stop()

    async def ping(self) -> None:
        await self._session.ping()
