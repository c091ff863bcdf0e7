"""One transaction of the SQLite log: the appends of many callers and what else waits."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeferry.core.errors import AlreadyCommitted
from edgeferry.core.record import Headers, Record, Span
from edgeferry.log.sqlite_file import damaged
from edgeferry.log.sqlite_records import insert_chunks
from edgeferry.log.sqlite_state import At, GroupAt, State

Row = tuple[bytes | None, bytes, bytes, Headers, int]
"""Key, encoded headers, value, headers, bytes of all three."""

_COMMIT = (
    "INSERT INTO group_offsets VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET offset = excluded.offset"
)


class Appended(NamedTuple):
    """Records of one partition, in order, without gap. ``totals``: see ``create_records``;
    ``before``: that of the record before the first."""

    before: int
    records: list[Record]
    totals: list[int]


class Transaction:
    """Used by the writer's thread between BEGIN and COMMIT. What it changes stands in
    ``state``, a draft that is thrown away when the transaction fails."""

    def __init__(
        self, connection: sqlite3.Connection, state: State, now_ms: int, path: Path
    ) -> None:
        """``path``: of the file, for what is said of it."""
        self.execute = connection.execute
        self.state = state
        self.appended: dict[At, Appended] = {}
        self._now_ms = now_ms
        self._path = path
        self._cells: dict[At, list[object]] = {}
        self._moved: dict[GroupAt, int] = {}

    def append(
        self, rows: Mapping[At, Sequence[Row]], group: str = "", done: Sequence[Span] = ()
    ) -> None:
        """Raises AlreadyCommitted, LogUnavailable: nothing of it is in the transaction then."""
        bounds, committed = self.state.bounds, self.state.committed
        for at in rows:
            if at not in bounds:
                self.state.of(*at)
        for topic, partition, begin, _ in done:
            self.state.of(topic, partition)
            offset = committed.get((group, topic, partition), 0)
            if offset > begin:
                raise AlreadyCommitted(
                    f"{group} has committed {offset} of {topic}-{partition}, beyond {begin}"
                )
        for at, of_partition in rows.items():
            self._stage(at, of_partition)
        for topic, partition, _, end in done:
            self.commit(group, topic, partition, end)

    def _stage(self, at: At, rows: Sequence[Row]) -> None:
        topic, partition = at
        bounds = self.state.bounds[at]
        offset, total, now_ms = bounds.end, bounds.total, self._now_ms
        appended = self.appended.get(at)
        if appended is None:
            appended = self.appended[at] = Appended(total, [], [])
        cells = self._cells.setdefault(at, [])
        add, note = appended.records.append, appended.totals.append
        for key, encoded, value, headers, size in rows:
            total += size
            cells += (offset, now_ms, total, key, encoded, value)
            add(Record(topic, partition, offset, now_ms, key, value, headers))
            note(total)
            offset += 1
        self.state.bounds[at] = bounds._replace(end=offset, total=total)

    def commit(self, group: str, topic: str, partition: int, offset: int) -> None:
        """Committed offsets only rise, except one that lies above the partition's end.

        Raises LogUnavailable."""
        bounds, at = self.state.of(topic, partition), (group, topic, partition)
        known = self.state.committed.get(at, -1)
        if known < offset or known > bounds.end:
            self.state.committed[at] = self._moved[at] = offset

    def flush(self) -> None:
        """Write what is only staged. Raises sqlite3.Error."""
        for at, cells in self._cells.items():
            for sql, chunk in insert_chunks(self.state.bounds[at].table, cells):
                self.execute(sql, chunk)
        self._cells = {}
        for (group, topic, partition), offset in self._moved.items():
            number = self.state.topics[topic].id
            self.execute(_COMMIT, (group, number, partition, offset))
        self._moved = {}

    def trim(self, topic: str, partition: int, below: int) -> None:
        """Delete records below an offset. Raises sqlite3.Error, LogUnavailable, LogUnusable."""
        self.flush()
        bounds = self.state.of(topic, partition)
        below = min(below, bounds.end)
        if below <= bounds.start:
            return
        last = self.execute(
            f"SELECT total FROM {bounds.table} WHERE offset = ?", (below - 1,)
        ).fetchone()
        if last is None:
            raise damaged(self._path, f"offset {below - 1} of {topic}-{partition} is missing")
        total = last[0]
        if below == bounds.end:
            self.execute(f"DELETE FROM {bounds.table}")
        else:
            self.execute(f"DELETE FROM {bounds.table} WHERE offset < ?", (below,))
        self.execute(
            "UPDATE partitions SET start = ?, start_total = ? WHERE topic = ? AND partition = ?",
            (below, total, self.state.topics[topic].id, partition),
        )
        self.state.bounds[topic, partition] = bounds._replace(start=below, start_total=total)
