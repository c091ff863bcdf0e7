"""Commands for devices in SQLite."""

from collections.abc import Sequence
from typing import Any

from edgeferry.core.changes import RPC_OPEN, RpcStatus, expiry_of
from edgeferry.core.store import Rpc, RpcNews, Told
from edgeferry.store.decisions import raised
from edgeferry.store.sqlite_reader import SqliteReader
from edgeferry.store.sqlite_writer import Execute, SqliteWriter
from edgeferry.store.values import check_news, check_row

_COLUMNS = (
    "rpc_id, tenant_id, device_id, status, request, answer, created_time, updated_ms, event_id"
)
_CREATE = f"INSERT OR IGNORE INTO rpcs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STANDS = f"SELECT {_COLUMNS} FROM rpcs WHERE rpc_id = ?"
_ADVANCE = """
UPDATE rpcs SET status = ?, answer = ?, updated_ms = ?, event_id = ? WHERE rpc_id = ?
"""
_SHOWN = f"SELECT json_group_array(json_array({_COLUMNS})) FROM"
_GET = f"{_SHOWN} rpcs WHERE rpc_id = ?"
_PENDING = f"""
{_SHOWN} (SELECT * FROM rpcs WHERE device_id = ? AND status = '{RpcStatus.QUEUED}'
    ORDER BY created_time, rpc_id)
"""
_OF_DEVICE = "device_id = ? AND CASE ? WHEN '' THEN status <> 'DELETED' ELSE status = ? END"
_PAGE = f"""
{_SHOWN} (SELECT * FROM rpcs WHERE {_OF_DEVICE}
    ORDER BY created_time DESC, rpc_id DESC LIMIT ? OFFSET ?)
"""
_COUNT = f"SELECT json_array(json_array(count(*))) FROM rpcs WHERE {_OF_DEVICE}"
_OLD = "SELECT rpc_id, request FROM rpcs WHERE created_time < ? ORDER BY created_time LIMIT ?"
_FORGET = "DELETE FROM rpcs WHERE rpc_id = ?"
_ENDS = "INSERT OR IGNORE INTO rpc_ends (ends_ms, rpc_id) VALUES (?, ?)"
_ENDED = "DELETE FROM rpc_ends WHERE ends_ms = ? AND rpc_id = ?"
_DUE = f"""
{_SHOWN} (SELECT rpcs.* FROM rpc_ends JOIN rpcs USING (rpc_id) WHERE ends_ms <= ?
    ORDER BY ends_ms LIMIT ?)
"""


class SqliteRpcs:
    """The port core.store.RpcStore."""

    def __init__(self, *, writer: SqliteWriter, reader: SqliteReader) -> None:
        self._writer = writer
        self._reader = reader

    async def create(self, rpc: Rpc) -> bool:
        """Raises StoreUnavailable, Unstorable."""
        check_row(rpc)
        return await self._writer.run(lambda execute: _create(execute, rpc))

    async def advance(self, news: RpcNews) -> Told | None:
        """Raises StoreUnavailable, Unstorable."""
        check_news(news)
        return await self._writer.run(lambda execute: _advance(execute, news))

    async def get(self, rpc_id: str) -> Rpc | None:
        rows = await self._reader.rows(_GET, (rpc_id,))
        return _rpc(rows[0]) if rows else None

    async def pending(self, device_id: str) -> Sequence[Rpc]:
        return [_rpc(row) for row in await self._reader.rows(_PENDING, (device_id,))]

    async def page(
        self, device_id: str, status: RpcStatus | None, limit: int, skip: int
    ) -> tuple[Sequence[Rpc], int]:
        wanted = (device_id, status or "", status or "")
        rows = await self._reader.rows(_PAGE, (*wanted, limit, skip))
        count = await self._reader.rows(_COUNT, wanted)
        return [_rpc(row) for row in rows], int(count[0][0])

    async def due(self, now_ms: int, limit: int) -> Sequence[Rpc]:
        return [_rpc(row) for row in await self._reader.rows(_DUE, (now_ms, limit))]

    async def expire(self, before_ms: int, limit: int) -> int:
        return await self._writer.run(lambda execute: _expire(execute, before_ms, limit))


def _create(execute: Execute, rpc: Rpc) -> bool:
    if execute(_CREATE, rpc).rowcount != 1:
        return False
    ends_ms = expiry_of(rpc.request)
    if ends_ms and rpc.status in RPC_OPEN:
        execute(_ENDS, (ends_ms, rpc.rpc_id))
    return True


def _expire(execute: Execute, before_ms: int, limit: int) -> int:
    old = execute(_OLD, (before_ms, limit)).fetchall()
    for rpc_id, request in old:
        execute(_ENDED, (expiry_of(request), rpc_id))
        execute(_FORGET, (rpc_id,))
    return len(old)


def _advance(execute: Execute, news: RpcNews) -> Told | None:
    """Runs in the writer's thread, so that nothing comes between reading and writing."""
    row = execute(_STANDS, (news.rpc_id,)).fetchone()
    if row is None:
        return None
    before = _rpc(row)
    now = raised(before, news)
    if now != before:
        execute(_ADVANCE, (now.status, now.answer, now.updated_ms, now.event_id, now.rpc_id))
        if now.status not in RPC_OPEN:
            execute(_ENDED, (expiry_of(now.request), now.rpc_id))
    return Told(before, now)


def _rpc(row: Sequence[Any]) -> Rpc:
    rpc = Rpc._make(row)
    return rpc._replace(status=RpcStatus(rpc.status))
