"""Files that only their owner may read."""

from collections.abc import Callable
from pathlib import Path

from edgeferry.files.whole import write_whole

_OWNER_ONLY = 0o600


def write_private(path: Path, text: str) -> None:
    """Durable and at once: a crash leaves the old text or the new one, never half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, text.encode(), _OWNER_ONLY)


def read_private(path: Path) -> str | None:
    """None when there is no such file. Whoever else could read it no longer can. An editor's
    last line feed does not count."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    if path.stat().st_mode & 0o077:
        path.chmod(_OWNER_ONLY)
    return text


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The file's text; the first time, what ``make`` gives."""
    text = read_private(path)
    if text is None:
        text = make()
        write_private(path, text)
    return text
