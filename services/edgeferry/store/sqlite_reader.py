"""Reading the SQLite file beside the writer, in threads of its own.

Each query answers with ONE row holding a JSON array: every row fetched costs the thread
the GIL once, which a busy event loop gives back only after milliseconds.
"""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgeferry.core.errors import StoreUnavailable
from edgeferry.store.sqlite_file import connect_to_read, meaning_of
from edgeferry.store.sqlite_writer import Cell

THREADS = 2


class SqliteReader:
    def __init__(self, *, path: Path) -> None:
        self._path = path
        self._pool: ThreadPoolExecutor | None = None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    def open(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="store-reader")
        self._local = threading.local()

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def rows(self, sql: str, cells: Sequence[Cell]) -> list[list[Any]]:
        """The array that the query's only cell holds. Raises StoreUnavailable, StoreUnusable."""
        if self._pool is None:
            raise StoreUnavailable(f"{self._path} is not open")
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._pool, self._query, sql, cells)
        rows: list[list[Any]] = json.loads(text)
        return rows

    def _query(self, sql: str, cells: Sequence[Cell]) -> str:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = connect_to_read(self._path)
                self._connections.append(connection)
            return str(connection.execute(sql, cells).fetchone()[0])
        except sqlite3.Error as error:
            raise meaning_of(error, self._path) from error
