"""A store on Cassandra for the tests, with ways to look behind it."""

from pathlib import Path
from uuid import UUID

from cassandra.cluster import Session

from edgeferry.core.clock import ManualClock
from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import Store
from edgeferry.runtime.settings import CassandraSettings
from edgeferry.store.cassandra import CassandraStore
from edgeferry.store.cassandra_session import Tuning
from edgeferry.store.seal import KEY_FILE, Seal
from tests.integration.store.waiting import until
from tests.unit.store.bench import DEVICE, T, all_history, write

COLUMNS = ("bool_v", "str_v", "long_v", "dbl_v", "json_v")


class Counted:
    """StoreMetrics that keep what they are told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.future = 0
        self.full = 0
        self.refused = 0

    def observe_batch(self, rows: int, size: int, seconds: float) -> None:
        self.batches.append((rows, size))

    def future_ts(self, count: int) -> None:
        self.future += count

    def latest_full(self, count: int) -> None:
        self.full += count

    def batch_refused(self) -> None:
        self.refused += 1


class CassandraBench:
    def __init__(
        self,
        settings: CassandraSettings,
        cql: Session,
        folder: Path,
        tuning: Tuning | None = None,
    ) -> None:
        self.clock = ManualClock(T + 60_000)
        self.metrics = Counted()
        self.settings = settings
        self._folder = folder
        self._tuning = tuning
        self._cql = cql
        self.keyspace = settings.keyspace
        self.store: Store = self._make()

    def _make(self) -> Store:
        return CassandraStore(
            settings=self.settings,
            seal=Seal(self._folder / KEY_FILE),
            clock=self.clock,
            metrics=self.metrics,
            tuning=self._tuning,
        )

    async def reopen(self) -> None:
        await self.store.stop()
        self.store = self._make()
        await self.store.start()

    async def age(self, seconds: int) -> None:
        # the server's own clock decides: what is written now goes last
        probe = new_entity_id()
        await self.store.timeseries.save([write(probe, ttl=seconds, v=1)])

        async def gone() -> bool:
            return not await all_history(self.store, probe, "v")

        await until(gone)

    async def history_columns(self, entity_id: str, key: str, ts: int) -> list[str]:
        partitions = [
            row[0]
            for row in self._cql.execute(
                f"SELECT partition FROM {self.keyspace}.ts_kv_partitions_cf"
                " WHERE entity_type = %s AND entity_id = %s AND key = %s",
                (DEVICE, UUID(entity_id), key),
            )
        ]
        found: list[str] = []
        for partition in partitions:
            found += self._columns(
                "ts_kv_cf", "AND partition = %s AND ts = %s", entity_id, key, partition, ts
            )
        return found

    async def latest_columns(self, entity_id: str, key: str) -> list[str]:
        return self._columns("ts_kv_latest_cf", "", entity_id, key)

    def _columns(self, table: str, also: str, entity_id: str, *cells: str | int) -> list[str]:
        rows = self._cql.execute(
            f"SELECT {', '.join(COLUMNS)} FROM {self.keyspace}.{table}"
            f" WHERE entity_type = %s AND entity_id = %s AND key = %s {also}",
            (DEVICE, UUID(entity_id), *cells),
        )
        return [
            column
            for row in rows
            for column, value in zip(COLUMNS, row, strict=True)
            if value is not None
        ]
