"""The log on SQLite: one file, one owner, nothing to install (``log.port.Log``)."""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, LogUnavailable, OffsetOutOfRange
from edgeferry.core.record import Outgoing, PartitionEnds, Record, Span
from edgeferry.files.lock import FileLock
from edgeferry.files.sqlite import closed_on_error, told
from edgeferry.log.limits import MAX_RECORD_BYTES
from edgeferry.log.separate_writer import SeparateWriter
from edgeferry.log.sqlite_append import Preparation
from edgeferry.log.sqlite_file import hold, meaning_of, open_as_owner, open_beside
from edgeferry.log.sqlite_reader import SqliteLogReader
from edgeferry.log.sqlite_records import HeadersCodec
from edgeferry.log.sqlite_state import At, Bounds, State
from edgeferry.log.sqlite_tail import TailCache
from edgeferry.log.sqlite_topics import SqliteTopics
from edgeferry.log.sqlite_transaction import Appended, Transaction
from edgeferry.log.sqlite_writer import ROW_BYTES, Append, Change, SqliteLogWriter

FILE = "log.db"
LOCK = "log.lock"

_POLL_SECONDS = 0.5
_POLL_BESIDE_SECONDS = 0.1
_EXPIRE_MS = 60_000
_RECORDS_PER_READ = 5_000

log = logging.getLogger(__name__)


class SqliteLog(SqliteTopics):
    """``log.port.Log``, its writer, reader and topics in one, and ``TransactionalWriter``.

    The log is ``folder``/log.db. owner: the site's own process; False: a tool beside it, which
    may read, commit and append. Used from one event loop."""

    kind: Literal["sqlite"] = "sqlite"

    def __init__(
        self,
        *,
        folder: Path,
        clock: Clock,
        owner: bool = True,
        max_record_bytes: int = MAX_RECORD_BYTES,
        expires: bool = True,
    ) -> None:
        """``expires``: records go when their topic's time is over."""
        path = folder / FILE
        codec = HeadersCodec()
        super().__init__(
            path=path,
            owner=owner,
            writer=SqliteLogWriter(path=path, clock=clock, publish=self._publish),
            reader=SqliteLogReader(path, codec),
        )
        self._clock = clock
        self._expires = expires
        self._preparation = Preparation(codec, max_record_bytes)
        self._lock = FileLock(folder / LOCK)
        self._tails = TailCache()
        self._known = State()
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._open = False
        self._poll: asyncio.Task[None] | None = None

    @property
    def writer(self) -> "SqliteLog":
        return self

    @property
    def reader(self) -> "SqliteLog":
        return self

    @property
    def topics(self) -> "SqliteLog":
        return self

    def new_writer(self) -> SeparateWriter:
        """See ``Log.new_writer``."""
        return SeparateWriter(self)

    @property
    def max_record_bytes(self) -> int:
        return self._preparation.max_record_bytes

    async def start(self) -> None:
        """Raises LogUnusable (Stop): no right to write, owned by another process, damaged,
        foreign, of an older or newer format; LogUnavailable (Later) for what passes."""
        connection = await asyncio.to_thread(self._open_file)
        self._writer.open(connection, asyncio.get_running_loop())
        self._open = True
        try:
            self._refresh()
        except BaseException:
            await self.stop()
            raise
        if self._owner:
            self._poll = asyncio.create_task(self._watch(), name="log-watch")

    def _open_file(self) -> sqlite3.Connection:
        if self._owner:
            hold(self._lock)
        try:
            connection = (open_as_owner if self._owner else open_beside)(self._path)
            with told(meaning_of, self._path), closed_on_error(connection):
                self._reader.open()
        except BaseException:
            self._lock.release()
            raise
        return connection

    async def stop(self) -> None:
        """Write what was handed in, then close. Calls that come later are refused."""
        self._open = False
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait([self._poll])
            self._poll = None
        self._writer.refuse()
        self._wake(self._listeners)
        await asyncio.to_thread(self._close_file)
        self._tails.clear()

    def _close_file(self) -> None:
        self._writer.close()
        self._reader.close()
        self._lock.release()

    async def append(self, records: Sequence[Outgoing]) -> None:
        """See ``LogWriter.append``; none of them stands when it raises."""
        if records:
            await self._writer.write(self._prepared(records))

    async def append_and_commit(
        self, records: Sequence[Outgoing], group: str, done: Sequence[Span]
    ) -> None:
        """See ``TransactionalWriter.append_and_commit``."""
        job = self._prepared(records)
        job.group, job.done = group, done
        await self._writer.write(job)

    def _prepared(self, records: Sequence[Outgoing]) -> Append:
        """Raises RecordTooLarge, LogUnavailable."""
        rows, size = self._preparation.rows(records, self._state().topics)
        return Append(rows, size + ROW_BYTES * len(records))

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        """See ``LogReader.ends``."""
        return {part: bounds.ends for part, bounds in self._state().partitions_of(topic)}

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """See ``GroupReader.committed``."""
        state = self._state()
        return {
            partition: state.committed[group, topic, partition]
            for partition, _ in state.partitions_of(topic)
            if (group, topic, partition) in state.committed
        }

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """See ``GroupReader.commit``. Offsets only rise."""

        def work(transaction: Transaction) -> None:
            for partition in offsets:
                transaction.state.of(topic, partition)
            for partition, offset in offsets.items():
                transaction.commit(group, topic, partition, offset)

        self._state().topic(topic)
        await self._writer.write(Change(work))

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        """See ``LogReader.read``. The first record comes also when it is larger alone."""
        at = (topic, partition)
        bounds = self._held(topic, partition, offset)
        if offset == bounds.end and wait_ms > 0:
            await self._wait(at, offset, wait_ms / 1000)
            bounds = self._held(topic, partition, offset)
        if offset == bounds.end:
            return []
        found = self._tails.get(at, offset, _RECORDS_PER_READ, max_bytes)
        if found:
            return found
        reader = self._reader
        return await reader.far(
            lambda c: reader.records(c, at, bounds, offset, _RECORDS_PER_READ, max_bytes)
        )

    async def _wait(self, at: At, offset: int, seconds: float) -> None:
        """Until there is something at an offset, or so long."""
        event = asyncio.Event()
        self.listen([at[0]], event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    while self._state().of(*at).end == offset:
                        if self._owner:
                            await event.wait()
                            event.clear()
                        else:
                            await asyncio.sleep(_POLL_BESIDE_SECONDS)
        finally:
            self.unlisten(event)

    def bounds(self, topic: str, partition: int) -> PartitionEnds:
        """Of what is durable. Raises LogUnavailable."""
        return self._state().of(topic, partition).ends

    def fetch(
        self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int
    ) -> Sequence[Record]:
        """Records from ``offset`` on, at once; none at the end. The first one comes also when
        it is larger alone.

        Raises OffsetOutOfRange, LogUnavailable, LogUnusable."""
        at = (topic, partition)
        bounds = self._held(topic, partition, offset)
        found = self._tails.get(at, offset, max_records, max_bytes)
        if found or offset == bounds.end:
            return found
        reader = self._reader
        return reader.near(lambda c: reader.records(c, at, bounds, offset, max_records, max_bytes))

    def group_offsets(self, group: str) -> Mapping[At, int]:
        """Committed offsets of a group by topic and partition."""
        return {
            (topic, partition): offset
            for (name, topic, partition), offset in self._state().committed.items()
            if name == group
        }

    def groups_of(self, topic: str) -> Mapping[str, Mapping[int, int]]:
        """Committed offsets by partition, of every group that has some in a topic."""
        found: dict[str, dict[int, int]] = {}
        for (group, name, partition), offset in self._state().committed.items():
            if name == topic:
                found.setdefault(group, {})[partition] = offset
        return found

    def listen(self, topics: Iterable[str], event: asyncio.Event) -> None:
        """Set ``event`` whenever records of these topics became durable."""
        for topic in topics:
            self._listeners.setdefault(topic, set()).add(event)

    def unlisten(self, event: asyncio.Event) -> None:
        for topic, events in list(self._listeners.items()):
            events.discard(event)
            if not events:
                del self._listeners[topic]

    @property
    def problem(self) -> str:
        """Why nothing can be written, and what to do; empty while all is well."""
        if self._open and self._poll is not None and self._poll.done():
            return "nobody looks after the log any more: restart the site"
        return self._writer.problem

    async def ping(self) -> None:
        """After a failure it tries to write. Raises LogUnavailable, LogUnusable."""
        await self._writer.write(Change(_write_something if self.problem else _look))

    def _held(self, topic: str, partition: int, offset: int) -> Bounds:
        """Raises OffsetOutOfRange, LogUnavailable."""
        bounds = self._state().of(topic, partition)
        if not bounds.start <= offset <= bounds.end:
            raise OffsetOutOfRange(
                f"the log no longer holds offset {offset} of {topic}-{partition}, which has "
                f"{bounds.start} to {bounds.end}; what was there is lost"
            )
        return bounds

    def _state(self) -> State:
        """What is durable now. Raises LogUnavailable."""
        if not self._open:
            raise LogUnavailable("the log is closing")
        if not self._owner:
            self._refresh()
        return self._known

    def _refresh(self) -> None:
        state = self._reader.changed_state()
        if state is not None:
            self._known = state

    def _publish(self, state: State, appended: Mapping[At, Appended]) -> None:
        if not self._owner:
            return  # it looks into the file, where the owner may have written since
        before, self._known = self._known.bounds, state
        changed = {topic for topic, _ in state.bounds.keys() - before.keys()}
        for at, known in before.items():
            bounds = state.bounds.get(at)
            if bounds is not known:
                if bounds is None or bounds.place != known.place:
                    self._tails.drop(at)
                changed.add(at[0])
        for at, records in appended.items():
            self._tails.add(at, records)
        self._wake(changed & self._listeners.keys())

    def _wake(self, topics: Iterable[str]) -> None:
        for topic in topics:
            for event in self._listeners[topic]:
                event.set()

    async def _watch(self) -> None:
        """What a broker does by itself: notice what tools have appended, delete what is older
        than its topic's retention."""
        expired_ms = 0
        said = ""
        while True:
            problem = ""
            try:
                await self.ping()
                now_ms = self._clock.now_ms()
                if self._expires and abs(now_ms - expired_ms) >= _EXPIRE_MS:
                    await self.expire(now_ms)
                    expired_ms = now_ms
            except EdgeferryError as error:
                problem = str(error)
                if problem != said:
                    log.warning("looking after the log failed, will be tried again: %s", problem)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
                if problem != said:
                    log.exception("looking after the log failed, will be tried again")
            said = problem
            await asyncio.sleep(_POLL_SECONDS)


def _look(transaction: Transaction) -> None:
    """Its beginning is all that is wanted: it notices what others have written."""


def _write_something(transaction: Transaction) -> None:
    transaction.execute("UPDATE topics SET value = value")
