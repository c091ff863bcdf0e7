"""The file that says which clients without credentials get some: keys and secrets by profile.

    {"profiles": [{"profile": "pump", "key": "...", "secret": "...",
                   "strategy": "ALLOW_CREATE_NEW_DEVICES"}]}

Names of fields of a request and of strategies are the field's (semantics 7.2, 7.3).
"""

import hmac
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from edgeferry.core.errors import InvalidSettings

_FIELDS: Final = ("profile", "key", "secret", "strategy")
_LONGEST: Final = 255
_LEAST_SECRET: Final = 8

log = logging.getLogger(__name__)


class Strategy(StrEnum):
    """Who shows the key and the secret gets a new device, or the credentials of one of this
    name and profile that is there."""

    CREATE = "ALLOW_CREATE_NEW_DEVICES"
    CHECK = "CHECK_PRE_PROVISIONED_DEVICES"


@dataclass(frozen=True, slots=True)
class ProvisionProfile:
    profile: str
    key: str
    secret: str
    strategy: Strategy


class ProvisionProfiles:
    """Of a file, read again when it has changed. Raises InvalidSettings with all problems where
    it cannot be read at first; later it stays as it was, and the log says why."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._profiles = read_profiles(path)
        self._read = self._seen()

    def find(self, key: str, secret: str) -> ProvisionProfile | None:
        """In the same time for any key."""
        self._refresh()
        found: ProvisionProfile | None = None
        for one in self._profiles:
            same_key = hmac.compare_digest(_bytes(one.key), _bytes(key))
            same_secret = hmac.compare_digest(_bytes(one.secret), _bytes(secret))
            if same_key and same_secret:
                found = one
        return found

    def _refresh(self) -> None:
        seen = self._seen()
        if seen == self._read:
            return
        self._read = seen
        try:
            self._profiles = read_profiles(self._path)
        except InvalidSettings as error:
            log.error("devices are provisioned as before: %s", error)

    def _seen(self) -> tuple[int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0
        return status.st_mtime_ns, status.st_ino


def read_profiles(path: Path) -> tuple[ProvisionProfile, ...]:
    """Raises InvalidSettings with all problems."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidSettings(
            f"provisioning_file {path} does not exist: write it, or leave the setting out"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidSettings(f"provisioning_file {path} cannot be read: {error}") from error
    problems = list(_problems(document))
    if problems:
        raise InvalidSettings("\n".join(f"provisioning_file {path}: {one}" for one in problems))
    return tuple(
        ProvisionProfile(row["profile"], row["key"], row["secret"], Strategy(row["strategy"]))
        for row in document["profiles"]
    )


def _problems(document: object) -> Iterable[str]:
    rows = document.get("profiles") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(rows, list) or len(document) != 1:
        yield 'one object is wanted: {"profiles": [{"profile", "key", "secret", "strategy"}, ...]}'
        return
    keys: set[str] = set()
    for index, row in enumerate(rows):
        where = f"profiles[{index}]"
        if not isinstance(row, dict) or set(row) != set(_FIELDS):
            yield f"{where}: an object with {', '.join(_FIELDS)} and nothing else is wanted"
            continue
        for name in _FIELDS[:3]:
            value = row[name]
            if not isinstance(value, str) or not value.strip() or not value.isprintable():
                yield f"{where}.{name}: printable text that is not blank is wanted"
            elif len(value) > _LONGEST:
                yield f"{where}.{name}: at most {_LONGEST} characters are wanted"
            elif name == "secret" and len(value) < _LEAST_SECRET:
                yield f"{where}.secret: at least {_LEAST_SECRET} characters are wanted"
            elif name == "key" and value in keys:
                yield f"{where}.key: the same stands above; one is wanted for each profile"
        if row["strategy"] not in tuple(Strategy):
            yield f"{where}.strategy: {' or '.join(Strategy)} is wanted"
        if isinstance(row["key"], str):
            keys.add(row["key"])


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
