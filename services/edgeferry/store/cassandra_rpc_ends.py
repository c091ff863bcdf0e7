"""When the time of open commands is over, in Cassandra: by hour, in order within it.

Of those that are open no longer the rows are deleted, and nobody is to read over these again
and again: a look begins where the one before found the first open one.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from edgeferry.core.changes import expiry_of
from edgeferry.core.store import Rpc
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql

_HOUR_MS: Final = 3_600_000
_MOST_HOURS: Final = 48
_BEHIND_MS: Final = 600_000
"""Another process that makes commands may be so late, or its clock."""


class End(NamedTuple):
    ends_ms: int
    rpc_id: str


class CassandraRpcEnds:
    """All raise StoreUnavailable."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        columns = ("hour", "ends_ms", "rpc_id")
        self._add = session.query(insert_cql("rpc_end_cf", columns))
        self._remove = session.query(
            "DELETE FROM rpc_end_cf WHERE hour = ? AND ends_ms = ? AND rpc_id = ?"
        )
        self._hours = session.query("SELECT DISTINCT hour FROM rpc_end_cf")
        self._of_hour = session.query(
            "SELECT ends_ms, rpc_id FROM rpc_end_cf "
            "WHERE hour = ? AND ends_ms >= ? AND ends_ms <= ? LIMIT ?"
        )
        self._from_ms: int | None = None

    async def add(self, rpc: Rpc) -> None:
        if ends_ms := expiry_of(rpc.request):
            if self._from_ms is not None:
                self._from_ms = min(self._from_ms, ends_ms)
            await self._session.rows(self._add, (_hour(ends_ms), ends_ms, rpc.rpc_id))

    async def remove(self, rpc: Rpc) -> None:
        if ends_ms := expiry_of(rpc.request):
            await self._session.rows(self._remove, (_hour(ends_ms), ends_ms, rpc.rpc_id))

    async def upto(self, now_ms: int, limit: int) -> Sequence[End]:
        """The first that are over."""
        since, self._from_ms = self._from_ms, now_ms  # what is added meanwhile lowers it
        found: list[End] = []
        try:
            for hour in await self._hours_of(since, now_ms):
                asked = (hour, since or 0, now_ms, limit - len(found))
                found += [End(*row) for row in await self._session.rows(self._of_hour, asked)]
                if len(found) >= limit:
                    break
        except BaseException:
            self._from_ms = since
            raise
        first = found[0].ends_ms if found else now_ms
        self._from_ms = min(first, self._from_ms, now_ms - _BEHIND_MS)
        return found

    async def _hours_of(self, since: int | None, now_ms: int) -> Sequence[int]:
        """Those that there are, where it is not known from when on, or from long ago."""
        last = _hour(now_ms)
        if since is not None and since > last - _MOST_HOURS * _HOUR_MS:
            return range(_hour(since), last + 1, _HOUR_MS)
        rows = await self._session.rows(self._hours, ())
        return sorted(hour for (hour,) in rows if _hour(since or 0) <= hour <= last)


def _hour(ms: int) -> int:
    return ms - ms % _HOUR_MS
