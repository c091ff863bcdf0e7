"""Small files: all of them or as they were."""

import errno
from pathlib import Path

import pytest

from edgeferry.files.whole import write_whole
from tests.disks import no_file_grows_beyond, nothing_can_be_opened


def test_a_file_is_written_with_its_folder_and_rights(tmp_path: Path) -> None:
    path = tmp_path / "made" / "file"
    for content in (b"first", b"second"):
        write_whole(path, content, 0o600)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_what_a_killed_write_left_gives_the_next_neither_content_nor_rights(
    tmp_path: Path,
) -> None:
    left = tmp_path / "file.new"
    left.write_bytes(b"a longer half")
    left.chmod(0o644)
    write_whole(tmp_path / "file", b"whole", 0o600)
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert not left.exists()


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"before")
    with no_file_grows_beyond(10), pytest.raises(OSError, match="File too large"):
        write_whole(path, bytes(100))
    with nothing_can_be_opened(errno.ENOSPC), pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
