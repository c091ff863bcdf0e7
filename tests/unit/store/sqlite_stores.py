"""SQLite stores in a folder."""

from pathlib import Path

from edgeferry.core.clock import ManualClock
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from edgeferry.store.sqlite import SqliteStore
from tests.unit.store.bench import T


def store_in(
    folder: Path, clock: ManualClock | None = None, *, read_only: bool = False
) -> SqliteStore:
    """``clock``: else it is a minute after T."""
    made = open_store(
        settings=StoreSettings(),
        data=folder,
        clock=clock or ManualClock(T + 60_000),
        read_only=read_only,
    )
    assert isinstance(made, SqliteStore)
    return made
