"""One process for a folder."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeferry.files.lock import FileHeld, FileLock
from tests.disks import nothing_can_be_opened

HOLD = (
    "import sys; from pathlib import Path; from edgeferry.files.lock import FileLock\n"
    "FileLock(Path(sys.argv[1])).acquire(); print(flush=True); sys.stdin.read()"
)


def test_the_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "made" / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        with pytest.raises(FileHeld) as refused:
            lock.acquire()
        assert refused.value.holder == str(other.pid)
        other.kill()
        other.wait()
    lock.acquire()
    assert lock.path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_released_lock_is_anybodys(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(FileHeld):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_it_holds_also_where_there_is_no_room_to_say_whose_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lock = FileLock(tmp_path / "lock")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        lock.acquire()
    with pytest.raises(FileHeld) as refused:
        FileLock(lock.path).acquire()
    assert refused.value.holder == ""
    lock.release()


def test_a_folder_that_is_no_place_to_write_is_told(tmp_path: Path) -> None:
    with nothing_can_be_opened(errno.EROFS), pytest.raises(OSError, match="Read-only file system"):
        FileLock(tmp_path / "lock").acquire()


CHANGE = (
    "import sys; from pathlib import Path; from edgeferry.files.lock import changing\n"
    "path = Path(sys.argv[1])\n"
    "for _ in range(200):\n"
    "    with changing(path): path.write_text(str(int(path.read_text()) + 1))"
)


def test_of_several_who_change_a_file_none_undoes_anothers_change(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    others = [subprocess.Popen([sys.executable, "-c", CHANGE, str(path)]) for _ in range(3)]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert path.read_text() == "600"
