"""The driver's session behind asyncio: life cycle, errors, and batches in flight."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cassandra import (
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    RequestValidationException,
    WriteFailure,
)
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionBusy
from cassandra.policies import (
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ServerError
from cassandra.query import PreparedStatement, SimpleStatement, Statement, tuple_factory

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, Later, StoreUnavailable, StoreUnusable, Unstorable
from edgeferry.store.cassandra_rows import PROTOCOL_VERSION, RawRowsHandler, batch_of, row_head
from edgeferry.store.cassandra_schema import make_missing
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.options import CassandraOptions

CONNECT_SECONDS = 5.0
RECONNECT_SECONDS = 1.0
HEARTBEAT_SECONDS = 5
PAGE_ROWS = 2000

BUSY_SECONDS = 0.02

SMALLEST_BATCH_BYTES = 4 * 1024

_DEFAULT_PORT = 9042
_MISSING_TABLE = ("unconfigured table", "does not exist", "no keyspace")
_TOO_LARGE = ("Batch too large", "too large for the maximum size", "oversized mutation")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Tuning:
    """least_rows: a batch of fewer is not cut further. batch_bytes: a server that refuses a
    size makes it smaller. cached_keys: what is remembered of stored rows, about 300 bytes
    each. request_seconds: a request without an answer for so long has failed."""

    batches_in_flight: int = 32
    least_rows: int = 8
    batch_rows: int = 512
    batch_bytes: int = 256 * 1024
    cached_keys: int = 400_000
    request_seconds: float = 10.0


class Query:
    """A statement that the session prepares when it starts."""

    __slots__ = ("cql", "paged", "prepared")

    def __init__(self, cql: str, paged: bool) -> None:
        self.cql = cql
        self.paged = paged
        self.prepared: PreparedStatement | None = None

    @property
    def head(self) -> bytes:
        """What an encoded row of it starts with. Raises StoreUnavailable before the start."""
        if self.prepared is None:
            raise StoreUnavailable("not connected to Cassandra yet")
        return row_head(self.prepared)


class _TooLarge(Exception):
    """The server takes this batch in no case, but may take parts of it."""


class CassandraSession:
    """One session per process. Everything raises StoreUnavailable while the server is away
    and works again by itself within seconds of its return."""

    def __init__(
        self, *, options: CassandraOptions, clock: Clock, metrics: StoreMetrics, tuning: Tuning
    ) -> None:
        self._options = options
        self._tuning = tuning
        self._clock = clock
        self._metrics = metrics
        self._cluster: Cluster | None = None
        self._session: Session | None = None
        self._queries: list[Query] = []
        self._in_flight = asyncio.Semaphore(tuning.batches_in_flight)
        self._batch_bytes = tuning.batch_bytes

    @property
    def address(self) -> str:
        return ", ".join(self._options.contact_points)

    def query(self, cql: str, paged: bool = True) -> Query:
        """A statement for ``rows``, to be asked for before the start."""
        query = Query(cql, paged)
        self._queries.append(query)
        return query

    async def start(self) -> None:
        """Connect, make what is missing, prepare; the driver blocks, so all of it runs in a
        thread. Raises StoreUnavailable, StoreUnusable."""
        await asyncio.to_thread(self._connect)

    def _connect(self) -> None:
        cluster = self._make_cluster()
        try:
            session = cluster.connect()
            session.default_fetch_size = PAGE_ROWS
            session.client_protocol_handler = RawRowsHandler
            make_missing(session, self._options.keyspace, self._options.replication)
            for query in self._queries:
                self._prepare(session, query)
        except BaseException as error:
            cluster.shutdown()
            raise self._why_not_started(error) from error
        self._cluster, self._session = cluster, session

    def _prepare(self, session: Session, query: Query) -> None:
        prepared = session.prepare(query.cql)
        if not query.paged:
            prepared.fetch_size = None
        query.prepared = prepared

    def _why_not_started(self, error: BaseException) -> BaseException:
        if isinstance(error, NoHostAvailable):
            return StoreUnavailable(f"no Cassandra answers at {self.address}: {error}")
        if isinstance(error, RequestValidationException):
            return StoreUnusable(
                f"Cassandra at {self.address} refuses: {error}; check the settings of the store"
            )
        if isinstance(error, DriverException | OSError):
            return StoreUnavailable(f"Cassandra at {self.address}: {error}")
        return error

    def _make_cluster(self) -> Cluster:
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy()),
            retry_policy=FallthroughRetryPolicy(),
            consistency_level=ConsistencyLevel.name_to_value[self._options.consistency],
            request_timeout=self._tuning.request_seconds,
            row_factory=tuple_factory,
        )
        points = [_endpoint(point) for point in self._options.contact_points]
        return Cluster(
            points,
            port=points[0][1],
            protocol_version=PROTOCOL_VERSION,
            compression=False,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            # max_attempts=None: the default gives up for good after 64 tries
            reconnection_policy=ConstantReconnectionPolicy(RECONNECT_SECONDS, max_attempts=None),
            connect_timeout=CONNECT_SECONDS,
            control_connection_timeout=CONNECT_SECONDS,
            idle_heartbeat_interval=HEARTBEAT_SECONDS,
            idle_heartbeat_timeout=HEARTBEAT_SECONDS,
        )

    async def filled_tables(self, tables: Sequence[str]) -> list[str]:
        """Those of the tables that exist and have a row; nothing is made, nothing need be
        started. Raises StoreUnavailable, StoreUnusable."""
        return await asyncio.to_thread(self._filled_tables, tables)

    def _filled_tables(self, tables: Sequence[str]) -> list[str]:
        cluster = self._make_cluster()
        keyspace = self._options.keyspace
        try:
            session = cluster.connect()
            rows = session.execute(
                "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (keyspace,)
            )
            present = {row[0] for row in rows}
            return [
                table
                for table in tables
                if table in present
                and session.execute(f'SELECT * FROM "{keyspace}".{table} LIMIT 1').one()
            ]
        except Exception as error:
            raise self._why_not_started(error) from error
        finally:
            cluster.shutdown()

    async def stop(self) -> None:
        cluster, self._cluster, self._session = self._cluster, None, None
        if cluster is not None:
            await asyncio.to_thread(cluster.shutdown)

    async def rows(self, query: Query, cells: Sequence[Any]) -> list[Row]:
        """All rows of a query, page after page. Raises StoreUnavailable, also when the server
        refuses the query: that is no fault of the data."""
        try:
            return await self._run(query.prepared, cells)
        except (_TooLarge, Unstorable) as error:
            raise StoreUnavailable(f"Cassandra at {self.address} refuses: {error}") from None

    async def ping(self) -> None:
        """Return when the server answers. Raises StoreUnavailable."""
        await self._run(SimpleStatement("SELECT key FROM system.local"), None)

    async def write(self, rows: Sequence[bytes]) -> None:
        """Return when all rows are acknowledged, in batches cut by rows and bytes.

        A coordinator applies the partitions of a batch one after another, each with its own
        sync of the commit log, and only batches side by side share a sync: 40 partitions
        took 54 ms in one batch and 8 ms in eight. So few rows are spread, too.

        Raises StoreUnavailable (some may stand), Unstorable."""
        tuning = self._tuning
        spread = max(-(-len(rows) // tuning.batches_in_flight), tuning.least_rows)
        chunks = _cut(rows, min(spread, tuning.batch_rows), self._batch_bytes)
        if len(chunks) == 1:
            await self._write_batch(chunks[0])
            return
        results = await asyncio.gather(
            *(self._write_batch(chunk) for chunk in chunks), return_exceptions=True
        )
        errors = [result for result in results if isinstance(result, BaseException)]
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, Later))

    async def _write_batch(self, rows: Sequence[bytes]) -> None:
        async with self._in_flight:
            begun = self._clock.monotonic()
            size = sum(map(len, rows))
            try:
                await self._run(batch_of(rows), None)
            except _TooLarge as error:
                refusal = error
            else:
                self._metrics.observe_batch(len(rows), size, self._clock.monotonic() - begun)
                return
        if len(rows) == 1:
            raise Unstorable(str(refusal))
        self._metrics.batch_refused()
        self._batch_bytes = max(min(self._batch_bytes, size // 2), SMALLEST_BATCH_BYTES)
        middle = len(rows) // 2
        await self._write_batch(rows[:middle])
        await self._write_batch(rows[middle:])

    async def _run(self, statement: Statement | None, cells: Sequence[Any] | None) -> list[Row]:
        session = self._session
        if session is None or statement is None:
            raise StoreUnavailable(f"not connected to Cassandra at {self.address}")
        patience = self._clock.monotonic() + self._tuning.request_seconds
        while True:
            answer = _Answer(asyncio.get_running_loop())
            try:
                answer.follow(session.execute_async(statement, cells))
                return await answer.rows
            except EdgeferryError:
                raise
            except Exception as error:
                if not _not_sent(error) or self._clock.monotonic() >= patience:
                    raise self._meaning_of(error) from error
            await asyncio.sleep(BUSY_SECONDS)

    def _meaning_of(self, error: Exception) -> Exception:
        """Who acts: the sender of a bad value, or time."""
        text = str(error)
        about_size = isinstance(error, InvalidRequest | WriteFailure | ServerError)
        if about_size and any(sign in text for sign in _TOO_LARGE):
            return _TooLarge(text)
        if isinstance(error, InvalidRequest) and not any(s in text for s in _MISSING_TABLE):
            return Unstorable(text)
        return StoreUnavailable(f"Cassandra at {self.address}: {text or repr(error)}")


def _not_sent(error: Exception) -> bool:
    """The driver refused to queue a request behind bytes that the socket does not take yet: it
    was not sent, and large batches side by side fill a socket at any time."""
    if isinstance(error, NoHostAvailable) and isinstance(error.errors, dict):
        errors = list(error.errors.values())
        return bool(errors) and all(isinstance(one, ConnectionBusy) for one in errors)
    return isinstance(error, ConnectionBusy)


class _Answer:
    """Collects the pages of one request in the driver's thread for the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._collected: list[Row] = []
        self.rows: asyncio.Future[list[Row]] = loop.create_future()

    def follow(self, response: ResponseFuture) -> None:
        response.add_callbacks(callback=self._page, callback_args=(response,), errback=self._failed)

    def _page(self, rows: Any, response: ResponseFuture) -> None:
        if rows:
            self._collected.extend(rows)
        if response.has_more_pages:
            response.start_fetching_next_page()
        else:
            self._tell(self._set_rows)

    def _failed(self, error: Exception) -> None:
        self._tell(self._set_error, error)

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def _set_rows(self) -> None:
        if not self.rows.done():
            self.rows.set_result(self._collected)

    def _set_error(self, error: Exception) -> None:
        if not self.rows.done():
            self.rows.set_exception(error)


def _cut(rows: Sequence[bytes], most: int, limit: int) -> list[Sequence[bytes]]:
    """Pieces of at most ``most`` rows and ``limit`` bytes (or one row), in order."""
    pieces: list[Sequence[bytes]] = []
    for start in range(0, len(rows), most):
        piece = rows[start : start + most]
        if sum(map(len, piece)) <= limit:
            pieces.append(piece)
        else:
            pieces += _cut_by_bytes(piece, limit)
    return pieces


def _cut_by_bytes(rows: Sequence[bytes], limit: int) -> list[Sequence[bytes]]:
    pieces: list[Sequence[bytes]] = []
    begin = size = 0
    for index, row in enumerate(rows):
        if size + len(row) > limit and index > begin:
            pieces.append(rows[begin:index])
            begin, size = index, 0
        size += len(row)
    pieces.append(rows[begin:])
    return pieces


def _endpoint(point: str) -> tuple[str, int]:
    host, colon, port = point.rpartition(":")
    if not colon:
        return point, _DEFAULT_PORT
    return host.strip("[]"), int(port)
