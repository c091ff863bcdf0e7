"""What a site keeps is its owner's alone: access tokens of devices stand in its log and store."""

import contextlib
import os
import stat
from pathlib import Path

_OTHERS = 0o077


def keep_private() -> None:
    """What this process and those that it starts make from now on, nobody else may read."""
    os.umask(_OTHERS)


def make_private(folder: Path) -> None:
    """Take the rights of others from a folder of a site and from the files in it. What
    cannot be changed stays as it is, such as a volume that is another user's; so does a folder
    that is everybody's, such as /tmp. No folder: nothing to do."""
    with contextlib.suppress(OSError):
        if folder.stat().st_mode & stat.S_ISVTX:
            return
        _take(folder)
        for file in folder.iterdir():
            if file.is_file() and not file.is_symlink():
                _take(file)


def _take(path: Path) -> None:
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & _OTHERS:
            path.chmod(mode & ~_OTHERS)
