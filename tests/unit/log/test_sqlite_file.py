"""The SQLite log's file: locks, damage, formats, rights, a full disk."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable, LogUnusable
from edgeferry.core.record import Outgoing, Span
from edgeferry.log.sqlite import SqliteLog
from tests.disks import (
    as_an_ordinary_user,
    full_for_sqlite,
    no_file_grows_beyond,
    nothing_can_be_opened,
)
from tests.unit.log.sqlite_logs import (
    numbered,
    numbers_of,
    opened,
    rows_of,
    topic,
)

pytestmark = pytest.mark.asyncio


async def _refusal(folder: Path, *, owner: bool = True) -> str:
    log = SqliteLog(folder=folder, clock=ManualClock(), owner=owner)
    with pytest.raises(LogUnusable) as refused:
        await log.start()
    await log.stop()
    return str(refused.value)


async def _filled(folder: Path, count: int = 2_000) -> Path:
    """A log that was closed."""
    async with opened(folder) as log:
        await log.ensure([topic("in"), topic("out")])
        await log.append([Outgoing("in", b"k", b"%d" % i + bytes(100)) for i in range(count)])
    assert not (folder / "log.db-wal").exists()
    return folder / "log.db"


class TestOwner:
    async def test_a_second_owner_is_refused_by_the_number_of_the_first(
        self, tmp_path: Path
    ) -> None:
        async with opened(tmp_path):
            assert await _refusal(tmp_path) == (
                f"{tmp_path} is in use by process {os.getpid()}: stop it, or give this one its "
                "own data folder"
            )
        async with opened(tmp_path):
            pass

    async def test_a_tool_finds_no_log_where_none_was_made(self, tmp_path: Path) -> None:
        assert "start the site first" in await _refusal(tmp_path, owner=False)
        assert list(tmp_path.iterdir()) == []

    async def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        folder = tmp_path / "data"
        await _filled(folder)
        for parent in (tmp_path, *tmp_path.parents[:2]):
            parent.chmod(0o755)
        for path in (*folder.iterdir(), folder):
            path.chmod(0o555 if path == folder else 0o444)
        with as_an_ordinary_user():
            assert "choose another data folder or change its permissions" in await _refusal(folder)
        folder.chmod(0o755)
        (tmp_path / "file").touch()
        assert "cannot write in" in await _refusal(tmp_path / "file" / "data")


class TestDamage:
    @pytest.mark.parametrize(
        "harm",
        [
            pytest.param(lambda data: os.urandom(len(data)), id="random bytes"),
            pytest.param(lambda data: b"", id="empty"),
            pytest.param(lambda data: data[:50], id="cut within its header"),
            pytest.param(lambda data: data[: len(data) // 2], id="cut in the middle"),
            pytest.param(lambda data: data[:-4096], id="last page missing"),
            pytest.param(lambda data: os.urandom(100) + data[100:], id="header smashed"),
            pytest.param(
                lambda data: data[:81920] + os.urandom(4096) + data[86016:], id="page smashed"
            ),
        ],
    )
    async def test_a_damaged_file_is_refused_and_left_as_it_is(
        self, tmp_path: Path, harm: Callable[[bytes], bytes]
    ) -> None:
        path = await _filled(tmp_path)
        damaged = harm(path.read_bytes())
        path.write_bytes(damaged)
        text = await _refusal(tmp_path)
        assert str(path) in text
        assert "damaged" in text
        assert "restore it from a backup, or move it and log.db-wal away" in text
        assert path.read_bytes() == damaged

    async def test_damage_that_the_start_did_not_look_for_is_told_when_it_is_met(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("edgeferry.files.sqlite.CHECKED_BYTES", 0)
        path = await _filled(tmp_path)
        data = path.read_bytes()
        path.write_bytes(data[:81920] + os.urandom(4096) + data[86016:])
        async with opened(tmp_path) as log:
            with pytest.raises(LogUnusable, match="is damaged"):
                rows_of(log, "in")
            with pytest.raises(LogUnusable, match="is damaged"):
                await log.read("in", 0, 0, 1_000_000, 0)

    @pytest.mark.parametrize("missing", [0, 5, 6, 7, 9])
    async def test_a_record_that_is_missing_is_never_passed_over(
        self, tmp_path: Path, missing: int
    ) -> None:
        path = await _filled(tmp_path, 20)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"DELETE FROM records_1_0 WHERE offset = {missing}")
        async with opened(tmp_path) as log:
            with pytest.raises(LogUnusable, match=f"offset {missing} of in-0 is missing"):
                rows_of(log, "in")
            with pytest.raises(LogUnusable, match="is damaged"):
                await log.read("in", 0, missing, 1_000_000, 0)
            with pytest.raises(LogUnusable, match=f"offset {missing} of in-0 is missing"):
                await log.drop("in", {0: missing + 1})
            assert log.bounds("in", 0) == (0, 20)
            assert (await log.read("in", 0, missing + 1, 1_000_000, 0))[-1].offset == 19

    async def test_a_missing_file_beside_its_journal_is_not_begun_anew(
        self, tmp_path: Path
    ) -> None:
        async with opened(tmp_path) as log:
            await log.ensure([topic("in")])
            shutil.copy(tmp_path / "log.db-wal", tmp_path / "kept")
        path = tmp_path / "log.db"
        path.unlink()
        (tmp_path / "kept").rename(tmp_path / "log.db-wal")
        assert "is missing but log.db-wal beside it is not: put the file back" in await _refusal(
            tmp_path
        )
        assert not path.exists()


class TestFormat:
    @pytest.mark.parametrize(
        ("pragma", "what"),
        [
            ("user_version = 2", "made by a newer Edgeferry; this one knows 1: update it, or"),
            ("user_version = 0", "no release of Edgeferry has made: restore it from a backup"),
        ],
    )
    async def test_a_file_of_another_format_is_refused(
        self, tmp_path: Path, pragma: str, what: str
    ) -> None:
        path = await _filled(tmp_path)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA {pragma}")
        for owner in (True, False):
            assert what in await _refusal(tmp_path, owner=owner)

    async def test_a_file_that_is_not_ours_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "log.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        before = path.read_bytes()
        for owner in (True, False):
            assert "is not a log of Edgeferry: choose another data folder" in await _refusal(
                tmp_path, owner=owner
            )
        assert path.read_bytes() == before

    async def test_a_start_that_was_killed_while_it_made_the_file_is_made_good(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "log.db.new").write_bytes(b"half")
        (tmp_path / "log.db.new-journal").write_bytes(b"half")
        async with opened(tmp_path) as log:
            assert await log.ensure([topic("in")]) == ["in"]
        assert not (tmp_path / "log.db.new").exists()


async def test_a_writer_that_hangs_is_waited_for_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.files.sqlite.BUSY_SECONDS", 0.2)
    async with opened(tmp_path) as log:
        await log.ensure([topic("in")])
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="is a tool hanging"):
                await log.append(numbered("in", 0, 1))
            assert numbers_of(log, "in") == []
        await log.append(numbered("in", 1, 2))
        assert numbers_of(log, "in") == [1]


class TestFullDisk:
    async def test_a_folder_without_room_says_to_make_some(self, tmp_path: Path) -> None:
        with nothing_can_be_opened(errno.ENOSPC):
            assert "make room on its disk" in await _refusal(tmp_path)
        with full_for_sqlite():
            assert "the disk is full: make room on it and start again" in await _refusal(tmp_path)
        async with opened(tmp_path):
            pass

    async def test_a_failed_transaction_leaves_nothing_and_the_next_goes_on(
        self, tmp_path: Path
    ) -> None:
        async with opened(tmp_path) as log:
            await log.ensure([topic("in"), topic("out")])
            await log.append(numbered("in", 0, 5))
            large = [Outgoing("out", b"k", bytes(100_000)) for _ in range(20)]
            with no_file_grows_beyond(1_000_000):
                for _ in range(2):
                    with pytest.raises(LogUnavailable, match="make room on"):
                        await log.append_and_commit(large, "hop", [Span("in", 0, 0, 5)])
                assert log.problem
                assert rows_of(log, "out") == []
                assert log.group_offsets("hop") == {}
                assert numbers_of(log, "in") == [0, 1, 2, 3, 4]
            await log.append_and_commit(large, "hop", [Span("in", 0, 0, 5)])
            assert log.problem == ""
            assert len(rows_of(log, "out")) == 20
            assert log.group_offsets("hop") == {("in", 0): 5}
        async with opened(tmp_path) as log:
            assert len(rows_of(log, "out")) == 20

    async def test_it_says_what_to_do_and_recovers_by_itself(self, tmp_path: Path) -> None:
        async with opened(tmp_path) as log:
            await log.ensure([topic("in")])
            with full_for_sqlite():
                with pytest.raises(LogUnavailable, match="the disk is full: make room on it"):
                    await log.append([Outgoing("in", b"k", bytes(100_000))])
                assert "make room" in log.problem
            await log.ping()
            assert log.problem == ""
            await log.append([Outgoing("in", b"k", bytes(100_000))])
            assert log.bounds("in", 0) == (0, 1)
