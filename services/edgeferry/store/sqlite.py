"""The store on SQLite: an Edge's own, and the Cloud's on a laptop."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.core.store import Position
from edgeferry.files.lock import FileLock
from edgeferry.files.sqlite import told
from edgeferry.store.metrics import StoreMetrics
from edgeferry.store.seal import KEY_FILE, Seal
from edgeferry.store.sqlite_attributes import SqliteAttributes
from edgeferry.store.sqlite_deletes import SqliteDeletes
from edgeferry.store.sqlite_edge_events import SqliteEdgeEvents
from edgeferry.store.sqlite_entities import SqliteEntities
from edgeferry.store.sqlite_file import check_readable, hold, meaning_of, open_for_writing
from edgeferry.store.sqlite_ids import SqliteIds
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_rpcs import SqliteRpcs
from edgeferry.store.sqlite_timeseries import SqliteTimeseries
from edgeferry.store.sqlite_writer import Cell, Insert, Job, SqliteWriter

FILE = "store.db"

SAVE_POSITION = Insert(
    "INSERT OR REPLACE INTO positions (stream, epoch, offset, incarnation, detail)", 5, ""
)
LOAD_POSITION = """
SELECT json_group_array(json_array(epoch, offset, incarnation, detail))
FROM positions WHERE stream = ?
"""
_WRITE_SOMETHING: Sequence[tuple[str, Sequence[Cell]]] = (
    ("INSERT OR REPLACE INTO positions VALUES ('', 0, 0, '', '')", ()),
    ("DELETE FROM positions WHERE stream = ''", ()),
)
LOAD_POSITIONS = """
SELECT json_group_array(json_array(stream, epoch, offset, incarnation, detail)) FROM positions
"""


class SqlitePositions:
    """The port core.store.PositionStore."""

    def __init__(self, *, writer: SqliteWriter, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader

    async def load(self, stream: str) -> Position | None:
        rows = await self._reader.rows(LOAD_POSITION, (stream,))
        return Position(*rows[0]) if rows else None

    async def all(self) -> Mapping[str, Position]:
        rows = await self._reader.rows(LOAD_POSITIONS, ())
        return {stream: Position(*row) for stream, *row in rows}

    async def save(self, stream: str, position: Position) -> None:
        job = Job()
        job.add(SAVE_POSITION, (stream, *position))
        await self._writer.write(job)


class SqliteStore:
    """The port core.store.Store in ``folder``/store.db.

    start raises StoreUnusable (Stop) when the folder cannot be written, another process
    has it, or the file is damaged, foreign or of a newer format; StoreUnavailable (Later)
    for what passes. ``read_only``: beside the process that owns the folder; saving raises
    StoreUnavailable. ``seal``: of the credentials, else with the key of the folder."""

    def __init__(
        self,
        *,
        folder: Path,
        clock: Clock,
        metrics: StoreMetrics,
        seal: Seal | None = None,
        read_only: bool = False,
    ) -> None:
        self._read_only = read_only
        path = self._path = folder / FILE
        self._lock = FileLock(folder / "store.lock")
        self._reader = SqliteReader(path=path)
        self._writer = SqliteWriter(path=path, clock=clock, metrics=metrics)
        self._ids = SqliteIds(reader=self._reader)
        self._deletes = SqliteDeletes(clock=clock)
        self._seal = seal or Seal(folder / KEY_FILE)
        self.timeseries = SqliteTimeseries(
            writer=self._writer,
            reader=self._reader,
            ids=self._ids,
            deletes=self._deletes,
            clock=clock,
            metrics=metrics,
        )
        self.attributes = SqliteAttributes(
            writer=self._writer, reader=self._reader, ids=self._ids, clock=clock
        )
        self.positions = SqlitePositions(writer=self._writer, reader=self._reader)
        self.edge_events = SqliteEdgeEvents(writer=self._writer, reader=self._reader, clock=clock)
        self.entities = SqliteEntities(writer=self._writer, reader=self._reader, seal=self._seal)
        self.rpcs = SqliteRpcs(writer=self._writer, reader=self._reader)

    async def start(self) -> None:
        await asyncio.to_thread(self._open, asyncio.get_running_loop())
        if self._read_only:
            return
        try:
            await self.entities.check_key()
        except BaseException:
            await self.stop()
            raise

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._read_only:
            check_readable(self._path)
            self._seal.open(make=False)
            self._reader.open()
            return
        hold(self._lock)
        try:
            with told(meaning_of, self._path):
                self._seal.open()
                connection = open_for_writing(self._path)
                self._writer.open(connection, loop)
                self._reader.open()
                self._ids.load(connection)
                self._deletes.load(connection)
        except BaseException:
            self._close()
            raise

    async def stop(self) -> None:
        self._writer.refuse()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._reader.close()
        self._lock.release()

    async def ping(self) -> None:
        """After a failure it tries to write. Raises StoreUnavailable, StoreUnusable, StoreFault."""
        if self._writer.problem:
            await self._writer.write(Job(statements=list(_WRITE_SOMETHING)))
        await self._reader.rows("SELECT '[]'", ())
