"""Is a keyspace free for a store that is to be copied into it?"""

from edgeferry.core.clock import Clock
from edgeferry.store.cassandra_schema import TABLES
from edgeferry.store.cassandra_session import CassandraSession, Tuning
from edgeferry.store.metrics import NoMetrics
from edgeferry.store.options import CassandraOptions


async def filled_tables(settings: CassandraOptions, clock: Clock) -> list[str]:
    """Tables of ours that have rows; makes neither keyspace nor table.

    Raises StoreUnavailable, StoreUnusable."""
    session = CassandraSession(options=settings, clock=clock, metrics=NoMetrics(), tuning=Tuning())
    return await session.filled_tables(TABLES)
