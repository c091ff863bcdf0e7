"""What the SQLite log has beyond the port: transactions, fetches at once, listeners,
retention, a tool beside it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import (
    AlreadyCommitted,
    LogUnavailable,
    LogUnusable,
    OffsetOutOfRange,
    RecordTooLarge,
)
from edgeferry.core.record import Outgoing, Span
from edgeferry.log import sqlite_tail as tail_module
from edgeferry.log import sqlite_topics as topics_module
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.sqlite_topics import _ensure
from edgeferry.log.sqlite_transaction import Transaction
from edgeferry.log.sqlite_writer import Append, Change
from tests.unit.log.sqlite_logs import (
    in_one_transaction,
    numbered,
    numbers,
    numbers_of,
    opened,
    rows_of,
    topic,
)

pytestmark = pytest.mark.asyncio

MOST = 1_000_000


async def _made(log: SqliteLog) -> None:
    """The topic ``in`` with two records, whatever is known of it now."""

    def work(transaction: Transaction) -> None:
        _ensure(transaction, [topic("in")])
        rows = [(b"k", b"", b"%d" % number, (), 2) for number in (7, 8)]
        Append({("in", 0): list(rows)}).apply(transaction)

    await log._writer.write(Change(work))


@pytest_asyncio.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with opened(tmp_path) as made:
        await made.ensure([topic("in"), topic("out")])
        yield made


class TestTransactions:
    async def test_outputs_and_offsets_stand_together(self, log: SqliteLog, tmp_path: Path) -> None:
        await log.append(numbered("in", 0, 5))
        await log.append_and_commit(numbered("out", 0, 3), "hop", [Span("in", 0, 0, 3)])
        assert log.group_offsets("hop") == {("in", 0): 3}
        assert numbers_of(log, "out") == [0, 1, 2]
        async with opened(tmp_path, owner=False) as beside:
            assert beside.group_offsets("hop") == {("in", 0): 3}
            assert numbers_of(beside, "out") == [0, 1, 2]

    async def test_a_hop_without_outputs_commits(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 5))
        await log.append_and_commit([], "hop", [Span("in", 0, 0, 5)])
        assert log.group_offsets("hop") == {("in", 0): 5}

    async def test_of_two_runs_of_a_hop_the_second_leaves_nothing(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 5))
        answers = await asyncio.gather(
            log.append_and_commit(numbered("out", 0, 3), "hop", [Span("in", 0, 0, 3)]),
            log.append_and_commit(numbered("out", 0, 5), "hop", [Span("in", 0, 0, 5)]),
            log.append(numbered("out", 7, 8)),
            log.append_and_commit(numbered("out", 3, 5), "hop", [Span("in", 0, 3, 5)]),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [
            type(None),
            AlreadyCommitted,
            type(None),
            type(None),
        ]
        assert numbers_of(log, "out") == [0, 1, 2, 7, 3, 4]
        assert log.group_offsets("hop") == {("in", 0): 5}

    async def test_one_span_that_was_committed_refuses_all_of_a_batch(self, log: SqliteLog) -> None:
        await log.ensure([topic("more", 2)])
        await log.commit("hop", "in", {0: 2})
        spans = [Span("more", 0, 0, 1), Span("in", 0, 1, 3), Span("more", 1, 0, 1)]
        with pytest.raises(AlreadyCommitted, match="hop has committed 2 of in-0, beyond 1"):
            await log.append_and_commit(numbered("out", 0, 3), "hop", spans)
        assert rows_of(log, "out") == []
        assert log.group_offsets("hop") == {("in", 0): 2}

    async def test_groups_do_not_share_offsets(self, log: SqliteLog) -> None:
        await log.append_and_commit([], "a", [Span("in", 0, 0, 5)])
        await log.append_and_commit([], "b", [Span("in", 0, 0, 2)])
        assert log.group_offsets("a") == {("in", 0): 5}
        assert log.group_offsets("b") == {("in", 0): 2}
        assert log.group_offsets("c") == {}

    async def test_committed_offsets_only_rise(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 9))
        await log.commit("hop", "in", {0: 5})
        await log.commit("hop", "in", {0: 3})
        assert await log.committed("hop", "in") == {0: 5}

    async def test_a_commit_with_an_unknown_partition_commits_nothing(self, log: SqliteLog) -> None:
        with pytest.raises(LogUnavailable, match="in has 1 partitions and no 1"):
            await log.commit("hop", "in", {0: 5, 1: 5})
        assert await log.committed("hop", "in") == {}

    async def test_an_offset_beyond_the_end_may_be_taken_back(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 3))
        await log.commit("hop", "in", {0: 9})
        await log.commit("hop", "in", {0: 1})
        assert await log.committed("hop", "in") == {0: 1}

    async def test_a_record_that_is_refused_takes_its_whole_append_with_it(
        self, log: SqliteLog
    ) -> None:
        large = Outgoing("out", b"k", bytes(MOST + 1))
        for bad, error in ((large, RecordTooLarge), (Outgoing("no", b"", b""), LogUnavailable)):
            with pytest.raises(error):
                await log.append_and_commit(
                    [*numbered("out", 0, 2), bad], "hop", [Span("in", 0, 0, 2)]
                )
        assert rows_of(log, "out") == []
        assert log.group_offsets("hop") == {}

    async def test_a_drop_between_two_appends_of_one_transaction(
        self, log: SqliteLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        await log.append(numbered("in", 0, 3))
        answers = await in_one_transaction(
            log,
            log.append(numbered("in", 3, 5)),
            log.drop("in", {0: 2}),
            log.append(numbered("in", 5, 7)),
            log.append(numbered("out", 0, 1)),
        )
        assert answers == [None, 2, None, None]
        assert caplog.records == []  # it had not to be taken apart
        async with opened(tmp_path, owner=False) as beside:
            for each in (log, beside):
                assert numbers_of(each, "in") == [2, 3, 4, 5, 6]
                assert numbers_of(each, "out") == [0]
                assert await each.held_bytes("in", 0, 2) == 10

    async def test_the_offsets_of_a_deleted_topic_go_with_it(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        await log.append_and_commit([], "hop", [Span("in", 0, 0, 5), Span("out", 0, 0, 1)])
        await log.delete(["in"])
        await log.ensure([topic("in")])
        async with opened(tmp_path, owner=False) as beside:
            for each in (log, beside):
                assert each.group_offsets("hop") == {("out", 0): 1}


class TestFetch:
    async def test_what_just_became_durable_is_there_at_once(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 10))
        rows = log.fetch("in", 0, 3, 4, MOST)
        assert numbers(rows) == [3, 4, 5, 6]
        assert log.fetch("in", 0, 3, 1, MOST)[0] is rows[0]
        assert log.bounds("in", 0) == (0, 10)

    async def test_memory_and_file_give_the_same(self, log: SqliteLog, tmp_path: Path) -> None:
        headers = [("a", b"1"), ("a", b""), ("long", bytes(300))]
        await log.append([Outgoing("in", b"%d" % i, b"x" * i, headers) for i in range(100)])
        async with opened(tmp_path, owner=False) as beside:
            for offset, count, size in ((0, 500, MOST), (7, 3, MOST), (50, 99, 700), (99, 1, 0)):
                rows = log.fetch("in", 0, offset, count, size)
                assert rows
                assert beside.fetch("in", 0, offset, count, size) == rows

    async def test_the_end_is_empty_and_outside_is_a_loss(self, log: SqliteLog) -> None:
        await log.append(numbered("in", 0, 10))
        assert list(log.fetch("in", 0, 10, 5, MOST)) == []
        await log.drop("in", {0: 4})
        for offset in (3, 11):
            with pytest.raises(OffsetOutOfRange, match="which has 4 to 10"):
                log.fetch("in", 0, offset, 5, MOST)
        with pytest.raises(LogUnavailable, match="in has 1 partitions and no 1"):
            log.fetch("in", 1, 0, 5, MOST)
        with pytest.raises(LogUnavailable, match="run `edgeferry topics apply`"):
            log.bounds("none", 0)

    async def test_memory_is_bounded_and_the_file_has_the_rest(
        self, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tail_module, "SITE_BYTES", 100_000)
        monkeypatch.setattr(tail_module, "PARTITION_RECORDS", 50)
        for i in range(30):
            for name in ("in", "out"):
                await log.append(
                    [Outgoing(name, b"", b"%4d" % (i * 20 + j) + bytes(500)) for j in range(20)]
                )
        tails = log._tails._tails.values()
        assert max(len(tail.records) for tail in tails) <= 50
        assert sum(tail.cost for tail in tails) == log._tails._cost <= 100_000
        for name in ("in", "out"):
            assert [int((row.value or b"")[:4]) for row in rows_of(log, name)] == list(range(600))


class TestListeners:
    async def test_they_hear_of_their_topics_alone(self, log: SqliteLog) -> None:
        event = asyncio.Event()
        log.listen(["in"], event)
        await log.append(numbered("out", 0, 1))
        assert not event.is_set()
        await log.append(numbered("in", 0, 1))
        assert event.is_set()
        event.clear()
        log.unlisten(event)
        await log.append(numbered("in", 1, 2))
        assert not event.is_set()

    async def test_one_may_listen_before_the_topic_is_there(self, log: SqliteLog) -> None:
        event = asyncio.Event()
        log.listen(["late"], event)
        await log.ensure([topic("late")])
        await log.append(numbered("late", 0, 1))
        assert event.is_set()

    async def test_a_reader_that_waits_is_told_when_the_log_closes(self, log: SqliteLog) -> None:
        waiting = asyncio.create_task(log.read("in", 0, 0, MOST, 60_000))
        await asyncio.sleep(0)
        await log.stop()
        with pytest.raises(LogUnavailable, match="closing"):
            await waiting
        for call in (log.read("in", 0, 0, MOST, 0), log.ends("in"), log.ensure([topic("x")])):
            with pytest.raises(LogUnavailable, match="closing"):
                await call


class TestRetention:
    async def test_what_is_older_goes_by_itself(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with opened(tmp_path, clock=clock) as log:
            await log.ensure([topic("day", 2, 86_400_000), topic("kept")])
            for name in ("day", "kept"):
                await log.append([Outgoing(name, b"%d" % i, b"%d" % i) for i in range(20)])
            clock.advance(80_000)
            await log.append([Outgoing("day", b"0", b"young")])
            clock.advance(10_000)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + 20
            while sum(end.end - end.start for end in (await log.ends("day")).values()) > 1:
                assert loop.time() < deadline
                await asyncio.sleep(0.05)
            rows = [row for partition in range(2) for row in rows_of(log, "day", partition)]
            assert [row.value for row in rows] == [b"young"]
            assert len(rows_of(log, "kept")) == 20

    async def test_a_topics_retention_follows_its_settings(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        await log.append(numbered("in", 0, 3))
        assert await log.ensure([topic("in", 1, 1_000)]) == []
        now_ms = ManualClock().now_ms()
        assert await log.expire(now_ms + 500) == 0
        assert await log.expire(now_ms + 5_000) == 3

    async def test_a_drop_leaves_alone_what_was_made_anew_meanwhile(
        self, log: SqliteLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(topics_module, "ROWS_PER_TRIM", 2)
        await log.append(numbered("in", 0, 6))
        dropped, _, _, _ = await in_one_transaction(
            log,
            log.drop("in", {0: 6}),
            log.delete(["in"]),
            _made(log),
            log.append(numbered("out", 0, 1)),
        )
        assert dropped == 2
        assert numbers_of(log, "in") == [7, 8]

    async def test_the_bytes_held_are_told_of_any_offset(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        await log.append([Outgoing("in", b"12345", bytes(95)) for _ in range(10)])
        assert await log.held_bytes("in", 0, 0) == 1_000
        assert await log.held_bytes("in", 0, 9) == 100
        assert await log.held_bytes("in", 0, 10) == 0
        await log.drop("in", {0: 4})
        assert await log.held_bytes("in", 0, 0) == 600
        await log.drop("in", {0: 10})
        assert await log.held_bytes("in", 0, 0) == 0
        await log.append([Outgoing("in", None, bytes(50), [("h", bytes(47))])])
        assert await log.held_bytes("in", 0, 10) == 100
        async with opened(tmp_path, owner=False) as beside:
            assert await beside.held_bytes("in", 0, 0) == 100

    async def test_the_file_is_small_again_after_a_long_outage(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        value = bytes(300)
        for _ in range(40):
            await log.append([Outgoing("in", b"k", value) for _ in range(5_000)])
        await log.append(numbered("out", 0, 100))
        large = sum(path.stat().st_size for path in tmp_path.iterdir())
        assert large > 60_000_000
        assert await log.drop("in", {0: 199_990}) == 199_990
        assert len(rows_of(log, "in")) == 10
        assert numbers_of(log, "out") == list(range(100))
        await log.stop()
        assert (tmp_path / "log.db").stat().st_size < large / 5


class TestBeside:
    async def test_a_tool_makes_and_deletes_nothing(self, log: SqliteLog, tmp_path: Path) -> None:
        await log.append(numbered("in", 0, 3))
        async with opened(tmp_path, owner=False) as beside:
            assert await beside.ensure([topic("in")]) == []
            for call in (
                beside.ensure([topic("new")]),
                beside.delete(["in"]),
                beside.drop("in", {0: 1}),
                beside.trim({}, 0),
            ):
                with pytest.raises(LogUnusable, match="stop the site"):
                    await call
            assert numbers_of(beside, "in") == [0, 1, 2]

    async def test_what_a_tool_wrote_is_not_overwritten(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        async with opened(tmp_path, owner=False) as beside:
            for start in range(0, 200, 20):
                await asyncio.gather(
                    log.append(numbered("in", start, start + 10)),
                    beside.append(numbered("in", start + 10, start + 20)),
                )
            await beside.commit("hop", "in", {0: 7})
            await log.append_and_commit([], "hop", [Span("in", 0, 7, 9)])
            with pytest.raises(AlreadyCommitted):
                await beside.append_and_commit(numbered("out", 0, 1), "hop", [Span("in", 0, 8, 9)])
            assert sorted(numbers_of(log, "in")) == list(range(200))
            assert rows_of(beside, "in") == rows_of(log, "in")

    async def test_a_tool_waits_for_what_the_site_appends(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        async with opened(tmp_path, owner=False) as beside:
            waiting = asyncio.create_task(beside.read("in", 0, 0, MOST, 30_000))
            await asyncio.sleep(0)
            await log.append(numbered("in", 0, 3))
            assert numbers(await waiting) == [0, 1, 2]

    async def test_a_topic_made_anew_is_not_mixed_with_the_old_one(
        self, log: SqliteLog, tmp_path: Path
    ) -> None:
        async with opened(tmp_path, owner=False) as beside:
            await log.append(numbered("in", 0, 5))
            await beside.append(numbered("in", 5, 6))
            assert numbers_of(beside, "in") == [0, 1, 2, 3, 4, 5]
            await asyncio.gather(
                log.delete(["in"]), log.ensure([topic("in"), topic("x")]), return_exceptions=True
            )
            await log.ensure([topic("in")])
            await log.append(numbered("in", 10, 12))
            for each in (log, beside):
                assert numbers_of(each, "in") == [10, 11]
