"""How far a copy of a store is, table by table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import orjson

from edgeferry.files.whole import write_whole
from edgeferry.store.sqlite_rows import After


class _Placed(Protocol):
    @property
    def at(self) -> After: ...


class Progress:
    """How far each table is, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._after: dict[str, list[int | str]] = {}
        if self._path.exists():
            self._after = orjson.loads(self._path.read_bytes())

    def after(self, table: str) -> After:
        return tuple(self._after.get(table, ()))

    def reached(self, table: str, rows: Sequence[_Placed]) -> int:
        """All of these are durable; how many they are."""
        self._after[table] = list(rows[-1].at)
        write_whole(self._path, orjson.dumps(self._after))
        return len(rows)
