"""What no known cause explains fails its own caller, is told, and stops nothing else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.errors import AlreadyCommitted, LogFault
from edgeferry.core.record import Span
from edgeferry.log import sqlite as sqlite_module
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.sqlite_writer import Alone
from tests.unit.log.sqlite_logs import in_one_transaction, numbered, numbers_of, opened, topic

pytestmark = pytest.mark.asyncio

UNWRITABLE = "\udc80"
"""A group that SQLite cannot take for its text: no sqlite3.Error tells of it."""


@pytest_asyncio.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with opened(tmp_path) as made:
        await made.ensure([topic("in"), topic("out")])
        yield made


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def _tracebacks(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.exc_info is not None for record in caplog.records)


async def test_only_the_caller_at_fault_fails_and_the_traceback_is_told_once(
    log: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    await log.commit("hop", "in", {0: 2})
    first, fault, refused, last = await in_one_transaction(
        log,
        log.append(numbered("in", 0, 2)),
        log.commit(UNWRITABLE, "in", {0: 0}),
        log.append_and_commit(numbered("out", 0, 1), "hop", [Span("in", 0, 0, 1)]),
        log.append(numbered("in", 2, 4)),
    )
    assert (first, last) == (None, None)
    assert isinstance(refused, AlreadyCommitted)
    assert isinstance(fault, LogFault)
    assert "UnicodeEncodeError" in str(fault)
    assert numbers_of(log, "in") == [0, 1, 2, 3]
    assert numbers_of(log, "out") == []
    assert _tracebacks(caplog) == 1


async def test_a_fault_between_transactions_is_told_too(
    log: SqliteLog, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LogFault, match="ZeroDivisionError"):
        await log._writer.write(Alone(lambda _: 1 // 0))
    assert _tracebacks(caplog) == 1


async def test_who_is_told_last_hears_of_what_is_durable_whatever_a_listener_does(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    with monkeypatch.context() as patch:
        patch.setattr(log._tails, "add", lambda at, records: 1 // 0)
        async with asyncio.timeout(5):
            await log.append(numbered("in", 0, 1))
    assert len(faults) == 1
    assert numbers_of(log, "in") == [0]


async def test_who_looks_after_the_log_outlives_a_passing_fault(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sqlite_module, "_POLL_SECONDS", 0.01)
    calls: list[int] = []
    ping = log.ping

    async def failing() -> None:
        calls.append(0)
        if len(calls) < 5:
            raise ValueError("passing")
        await ping()

    monkeypatch.setattr(log, "ping", failing)
    await _until(lambda: len(calls) > 8)
    assert _tracebacks(caplog) == 1
    assert log.problem == ""


async def test_its_end_is_a_problem(log: SqliteLog) -> None:
    assert log._poll is not None
    log._poll.cancel()
    await asyncio.wait([log._poll])
    assert "restart the site" in log.problem
    await log.stop()
    assert log.problem == ""
