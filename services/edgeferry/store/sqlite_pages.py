"""Reading a SQLite store page after page, beside the process that has it open."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edgeferry.files.sqlite import told
from edgeferry.store.sqlite_file import connect_to_read, meaning_of

PAGE_ROWS = 4_000

After = tuple[int | str, ...]
"""The primary key of the row before; () for the start."""


class SqlitePages:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self, sql: str, cells: Sequence[int | str]) -> list[tuple[Any, ...]]:
        """Raises StoreUnavailable, StoreUnusable."""
        return await asyncio.to_thread(self._read, sql, cells)

    def _read(self, sql: str, cells: Sequence[int | str]) -> list[tuple[Any, ...]]:
        with told(meaning_of, self._path), closing(connect_to_read(self._path)) as connection:
            return connection.execute(sql, cells).fetchall()
