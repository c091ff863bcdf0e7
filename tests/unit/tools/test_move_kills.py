"""A copy that is killed at each of its writes, before and after they take effect, and goes on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.core.record import Outgoing
from edgeferry.log.sqlite import SqliteLog
from edgeferry.store import sqlite_kept_rows, sqlite_rows
from edgeferry.store.sqlite import FILE, SqliteStore
from edgeferry.store.sqlite_pages import PAGE_ROWS
from edgeferry.store.sqlite_rows import SqliteRows
from edgeferry.tools import move_log
from edgeferry.tools.move_log import copy_topic, held, summed
from edgeferry.tools.move_store import compare_store, copy_store, count_store
from tests.unit.tools.test_move_log import KEYS, TOPIC
from tests.unit.tools.test_move_log import opened as opened_log
from tests.unit.tools.test_move_store import NOW_MS, RPC, fill, opened, write

pytestmark = pytest.mark.asyncio
_SMALL_PAGE = 3
_WRITES = frozenset(
    {
        *("save", "delete", "apply", "save_entities", "save_credentials", "assign", "create"),
        *("restore", "restore_heads", "append"),
    }
)


class Killed(BaseException):
    """The process went; no handler of an error runs."""


class Life:
    """``writes``: how many go well. ``applied``: whether that which is the last takes effect."""

    def __init__(self, writes: int, applied: bool) -> None:
        self._left = writes
        self._applied = applied

    async def write(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._left:
            self._left -= 1
            return await call()
        if self._applied:
            await call()
        raise Killed


class Mortal:
    """A store or a log whose user is killed by one of its writes."""

    def __init__(self, real: Any, life: Life) -> None:
        self._real = real
        self._life = life

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name in _WRITES:

            async def write(*arguments: Any, **named: Any) -> Any:
                return await self._life.write(lambda: real(*arguments, **named))

            return write
        return Mortal(real, self._life) if name in _PORTS else real


_PORTS = frozenset({"timeseries", "attributes", "entities", "rpcs", "edge_events", "positions"})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_rows, sqlite_kept_rows):
        for name, value in vars(module).copy().items():
            if isinstance(value, str) and f"LIMIT {PAGE_ROWS}" in value:
                smaller = value.replace(f"LIMIT {PAGE_ROWS}", f"LIMIT {_SMALL_PAGE}")
                monkeypatch.setattr(module, name, smaller)
    monkeypatch.setattr(move_log, "_APPEND_RECORDS", 7)


@pytest_asyncio.fixture
async def source(tmp_path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with opened(tmp_path / "source", clock) as store:
        await fill(store)
        await store.timeseries.save([write(n, a=n, b=-n) for n in range(4)])
        for number in range(4):
            await store.rpcs.create(RPC._replace(rpc_id=f"{number}{RPC.rpc_id[1:]}"))
        yield store


@pytest.mark.parametrize("applied", [False, True])
async def test_a_store_is_whole_wherever_its_copy_was_killed(
    tmp_path: Path, source: SqliteStore, clock: ManualClock, applied: bool
) -> None:
    rows = SqliteRows(tmp_path / "source" / FILE)
    wanted = await count_store(rows, clock)
    writes = 0
    killed = True
    while killed:
        progress = tmp_path / f"{writes}.json"
        async with opened(tmp_path / f"target{writes}", clock) as target:
            mortal: Any = Mortal(target, Life(writes, applied))

            async def copy(store: Any, kept: Path = progress) -> None:
                await copy_store(
                    rows=rows, target=store, progress=kept, clock=clock, say=lambda *_: None
                )

            try:
                await copy(mortal)
                killed = False
            except Killed:
                await copy(target)
            assert await compare_store(rows=rows, target=target, clock=clock) == wanted
        writes += 1
    assert writes > 25


@pytest.mark.parametrize("applied", [False, True])
async def test_a_topic_has_each_record_once_wherever_its_copy_was_killed(
    tmp_path: Path, applied: bool
) -> None:
    source = await opened_log(tmp_path / "source", 1)
    records = [Outgoing(TOPIC, KEYS[n % 5], b"%d" % n, ()) for n in range(60)]
    await source.append(records + [Outgoing(TOPIC, None, b"no key", ())] * 3)
    spans = await held(source, TOPIC)
    wanted = await summed(source, TOPIC, spans)
    writes, killed = 0, True
    while killed:
        target = await opened_log(tmp_path / f"target{writes}", 12)

        async def copy(writer: Any, into: SqliteLog = target) -> None:
            await copy_topic(
                source=source, target=into, writer=writer, topic=TOPIC, spans=spans,
                say=lambda _: None,
            )  # fmt: skip

        try:
            await copy(Mortal(target, Life(writes, applied)))
            killed = False
        except Killed:
            await copy(target)
        assert await summed(target, TOPIC, await held(target, TOPIC)) == wanted
        await target.stop()
        writes += 1
    await source.stop()
    assert writes == 10
