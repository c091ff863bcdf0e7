"""The transport on the SQLite log while the file, the disk or another run gives trouble."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeferry.core.errors import LogUnavailable, LogUnusable
from edgeferry.core.record import Outgoing, Record, Span
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.sqlite_writer import Alone
from edgeferry.streams.runner import Runner
from tests.integration.streams.beds import Bed, Gate, sqlite_bed
from tests.integration.streams.harness import (
    FIRST,
    LAST,
    CountingMetrics,
    Forward,
    consumer_of,
    until,
)

pytestmark = pytest.mark.asyncio


class Overtaken(Gate):
    """Each of the first commits was made by another run of the hop a moment before."""

    times = 0

    async def append_and_commit(
        self, records: Sequence[Outgoing], group: str, done: Sequence[Span]
    ) -> None:
        if self.times:
            self.times -= 1
            await super().append_and_commit(records, group, done)
        await super().append_and_commit(records, group, done)


async def test_an_app_that_is_overtaken_goes_on_behind_and_never_stops_for_it(
    on_sqlite: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.runner.RESTART_PAUSE_SECONDS", 0.01)
    gate = Overtaken(on_sqlite.writer, on_sqlite.transactions)
    gate.opened.set()
    gate.times = 5
    await on_sqlite.load(0, 5_000)
    running = on_sqlite.runner(Forward(on_sqlite.site), gate=gate)
    await running.start()
    await on_sqlite.drained()
    await on_sqlite.load(5_000, 6_000)
    await on_sqlite.drained()
    assert gate.times == 0
    assert running.health().ready
    await running.stop()
    found = await on_sqlite.arrived(6_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_run_that_was_left_behind_leaves_nothing_behind(on_sqlite: Bed) -> None:
    await on_sqlite.load(0, 400)
    late = on_sqlite.gate()
    zombie = on_sqlite.runner(Forward(on_sqlite.site), gate=late)
    await zombie.start()
    await asyncio.wait_for(late.waiting.wait(), 30)
    running = on_sqlite.runner(Forward(on_sqlite.site))
    await running.start()
    await on_sqlite.drained()
    late.opened.set()
    await until(lambda: _restarted(zombie), 30, "the late run was not refused")
    await on_sqlite.load(400, 800)
    await on_sqlite.drained()
    await zombie.stop()
    await running.stop()
    found = await on_sqlite.arrived(800)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def _restarted(running: Runner) -> bool:
    return running.health().ready and consumer_of(running).deliveries == 0


async def test_a_full_disk_holds_the_offset_and_then_everything_passes(on_sqlite: Bed) -> None:
    await on_sqlite.load(0, 5_000)
    await _room_for(on_sqlite, pages=30)
    metrics = CountingMetrics()
    running = on_sqlite.runner(Forward(on_sqlite.site), metrics=metrics)
    await running.start()
    await until(lambda: _reports(running, "disk is full"), 30, "the disk is not full")
    with pytest.raises(LogUnavailable, match="disk is full"):
        await on_sqlite.load(5_000, 10_000, chunk=5_000)
    assert running.health().alive
    assert await on_sqlite.committed() == len(await on_sqlite.read_all(LAST)) < 5_000
    await _room_for(on_sqlite, pages=1_000_000)
    await on_sqlite.load(5_000, 6_000)
    await on_sqlite.drained()
    await until(lambda: _ready(running), 30, "it is not ready again")
    await running.stop()
    assert metrics.retries > 0
    assert metrics.dead_letters == 0
    found = await on_sqlite.arrived(6_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def _room_for(bed: Bed, pages: int) -> None:
    """So many pages more, then the disk is full."""

    def limit(connection: sqlite3.Connection) -> None:
        (now,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {now + pages}").fetchall()

    assert isinstance(bed.log, SqliteLog)
    await bed.log._writer.write(Alone(limit))


async def test_a_log_that_is_damaged_stops_the_app_and_names_it(on_sqlite: Bed) -> None:
    await on_sqlite.load(0, 10)
    gate = on_sqlite.gate()
    gate.failures = [LogUnusable("log.db is damaged: restore it from a backup")]
    running = on_sqlite.runner(Forward(on_sqlite.site), gate=gate)
    await running.start()
    await until(lambda: _reports(running, "stopped: log.db is damaged"), 30, "it goes on")
    assert running.health().detail.startswith(f"{on_sqlite.site}.{FIRST}: ")
    await running.stop()


async def test_damage_that_reading_meets_stops_the_app_and_names_it(
    on_sqlite: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: object) -> Sequence[Record]:
        raise LogUnusable("log.db is damaged: restore it from a backup")

    monkeypatch.setattr(on_sqlite.log, "fetch", damaged)
    running = on_sqlite.runner(Forward(on_sqlite.site))
    await running.start()
    await on_sqlite.load(0, 10)
    await until(lambda: _reports(running, "stopped: log.db is damaged"), 30, "it goes on")
    await running.stop()


async def test_reading_that_fails_for_a_while_is_said_and_goes_on(
    on_sqlite: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.sqlite_transport._RETRY_SECONDS", 0.2)

    assert isinstance(on_sqlite.log, SqliteLog)
    fetch = on_sqlite.log.fetch

    def failing(topic: str, partition: int, *rest: int) -> Sequence[Record]:
        if partition == 3:
            raise LogUnavailable("log.db: disk I/O error")
        return fetch(topic, partition, *rest)

    await on_sqlite.load(0, 1_000)
    running = on_sqlite.runner(Forward(on_sqlite.site))
    with monkeypatch.context() as patch:
        patch.setattr(on_sqlite.log, "fetch", failing)
        await running.start()
        await until(lambda: _reports(running, "the log does not answer"), 30, "nothing is said")
        assert running.health().alive
    await on_sqlite.drained()
    await until(lambda: _ready(running), 30, "it is not ready again")
    await running.stop()
    found = await on_sqlite.arrived(1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_topic_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.sqlite_transport._RETRY_SECONDS", 0.05)
    bed = sqlite_bed(tmp_path)
    await bed.log.start()
    running = bed.runner(Forward(bed.site))
    await running.start()
    await until(lambda: _reports(running, "waiting for its partitions"), 30, "nothing is said")
    await bed.make_topics()
    await running.ready()
    await bed.load(0, 100)
    await bed.drained()
    await running.stop()
    await bed.stop()


async def test_records_appended_by_a_tool_beside_the_site_are_read(
    on_sqlite: Bed, tmp_path: Path
) -> None:
    running = on_sqlite.runner(Forward(on_sqlite.site))
    await running.start()
    await running.ready()
    beside = sqlite_bed(tmp_path, owner=False)
    await beside.log.start()
    await beside.load(0, 1_000, chunk=100)
    await beside.stop()
    await on_sqlite.all_arrived(1_000)
    await running.stop()


async def test_records_trimmed_under_the_reader_are_counted_as_lost(on_sqlite: Bed) -> None:
    release, entered = asyncio.Event(), asyncio.Event()

    async def slow(records: Sequence[Record]) -> None:
        entered.set()
        await release.wait()

    topic = f"{on_sqlite.site}.{FIRST}"
    await on_sqlite.load(0, 100)
    running = on_sqlite.runner(Forward(on_sqlite.site, before=slow))
    await running.start()
    await asyncio.wait_for(entered.wait(), 30)
    await on_sqlite.load(100, 1_000)
    ends = {part: at.end for part, at in (await on_sqlite.log.reader.ends(topic)).items()}
    assert await on_sqlite.log.topics.drop(topic, ends) == 1_000
    release.set()
    await until(lambda: _reports(running, "900 records were deleted"), 30, "no report")
    await on_sqlite.load(1_000, 1_100)
    await on_sqlite.drained()
    await running.stop()
    found = await on_sqlite.arrived(1_100)
    assert (found.missing, found.duplicates, found.out_of_order) == (900, 0, 0)


async def _reports(running: Runner, text: str) -> bool:
    return text in running.health().detail


async def _ready(running: Runner) -> bool:
    return running.health().ready
