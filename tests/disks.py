"""Disks that are full or read-only and folders without rights, with nothing mounted for it."""

import _sqlite3
import ctypes
import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NOBODY = 65534

_Write = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, use_errno=True
)
_WriteAt = ctypes.CFUNCTYPE(
    *(ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    use_errno=True,
)
_CALLS: dict[bytes, Callable[[Any], Any]] = {
    b"write": _Write,
    b"pwrite": _WriteAt,
    b"pwrite64": _WriteAt,
}
_BEFORE = (
    "xOpen xDelete xAccess xFullPathname xDlOpen xDlError xDlSym xDlClose xRandomness xSleep "
    "xCurrentTime xGetLastError xCurrentTimeInt64"
)


class _Vfs(ctypes.Structure):
    """SQLite's sqlite3_vfs: its tests put other system calls in by the same two functions."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("iVersion", "szOsFile", "mxPathname")),
        *((name, ctypes.c_void_p) for name in ("pNext", "zName", "pAppData", *_BEFORE.split())),
        (
            "set_call",
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        ),
        ("get_call", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)),
    ]


@contextmanager
def full_for_sqlite() -> Iterator[None]:
    """What would make a file of SQLite's longer fails as on a full disk, in this process."""
    vfs = _vfs()
    at = ctypes.addressof(vfs)
    kept: list[object] = []
    replaced: dict[bytes, int] = {}
    try:
        for name, kind in _CALLS.items():
            address = vfs.get_call(at, name)
            if address is not None:
                call = kind(_without_growth(kind(address)))
                kept.append(call)
                replaced[name] = address
                vfs.set_call(at, name, ctypes.cast(call, ctypes.c_void_p))
        yield
    finally:
        for name, address in replaced.items():
            vfs.set_call(at, name, address)


def _without_growth(write: Callable[..., int]) -> Callable[..., int]:
    def limited(file: int, data: int, count: int, *at: int) -> int:
        begin = at[0] if at else os.lseek(file, 0, os.SEEK_CUR)
        if begin + count > os.fstat(file).st_size:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        return write(file, data, count, *at)

    return limited


def _vfs() -> _Vfs:
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        find = library.sqlite3_vfs_find
    except AttributeError:
        pytest.fail(
            "a full disk is made within SQLite here, and this Python hides its SQLite: run the "
            "tests by a Python that uses a shared library for it (libsqlite3.so)"
        )
    find.argtypes, find.restype = [ctypes.c_char_p], ctypes.POINTER(_Vfs)
    found: _Vfs = find(None).contents
    return found


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Writes past ``size`` fail in this process, as by a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def nothing_can_be_opened(code: int) -> Iterator[None]:
    """By us, not by SQLite, to write: ENOSPC, EROFS, ..."""
    real = os.open

    def refusing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(code, os.strerror(code), os.fspath(path))
        return real(path, flags, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", refusing)
        yield


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may write everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
