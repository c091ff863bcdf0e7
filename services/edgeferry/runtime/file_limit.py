"""How many files and connections this process may have open."""

import contextlib
import resource

_RESERVED = 500
"""For files, the log's and the store's servers, the link."""

_PLENTY = 1_048_576
"""Where the system sets no limit."""


def raise_file_limit() -> None:
    """As far as the system lets us: by default a process gets 1,024, for programs of old."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _PLENTY if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_allowed() -> int:
    """So many that files can still be opened beside them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _PLENTY if soft == resource.RLIM_INFINITY else soft
    return max(limit - _RESERVED, limit // 2)
