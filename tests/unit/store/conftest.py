from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from edgeferry.store.sqlite import SqliteStore
from tests.unit.store.sqlite_stores import store_in


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A SQLite store in the test's own folder."""
    made = store_in(tmp_path)
    await made.start()
    yield made
    await made.stop()
