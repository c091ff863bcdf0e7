"""The people and programs that may use the REST interface, in a file of the data folder."""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import orjson

from edgeferry.api.private_files import read_private, write_private
from edgeferry.core.errors import InvalidSettings

log = logging.getLogger(__name__)

ADMIN_USERNAME: Final = "tenant@edgeferry.local"
"""Of the administrator that the first start makes."""
ACCOUNTS_FILE: Final = "accounts.json"
MOST_CHARACTERS: Final = 255
"""Of a user name."""


@dataclass(frozen=True, slots=True)
class Account:
    """created_time in ms. generation: rises with every change of password; tokens name the
    one they were given under, so older ones end with it. key_hash: SHA-256 of the API key in
    hex, empty where there is none."""

    id: str
    tenant_id: str
    username: str
    password_hash: str
    authority: str
    created_time: int
    generation: int = 1
    key_hash: str = ""


class Accounts:
    """All accounts, in memory and in ``path`` (JSON, mode 0600). What another process writes
    there counts from the next look-up on."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidSettings when the file is broken."""
        self._path = path
        self._seen = _version_of(path)
        self._by_id = {account.id: account for account in _read(path)}

    def all(self) -> Sequence[Account]:
        self._refresh()
        return list(self._by_id.values())

    def find(self, username: str) -> Account | None:
        """User names are equal in upper and lower case."""
        wanted = username.casefold()
        for account in self.all():
            if account.username.casefold() == wanted:
                return account
        return None

    def get(self, account_id: str) -> Account | None:
        self._refresh()
        return self._by_id.get(account_id)

    def with_key(self, key_hash: str) -> Account | None:
        if not key_hash:
            return None
        for account in self.all():
            if account.key_hash == key_hash:
                return account
        return None

    def add(self, account: Account) -> None:
        """Durable on return. Raises InvalidSettings when the name is taken or none."""
        name = account.username
        if not (name.strip() and name.isprintable()) or len(name) > MOST_CHARACTERS:
            raise InvalidSettings(
                f"a user cannot be named {name[:40]!r}: give a printable name of at most "
                f"{MOST_CHARACTERS} characters"
            )
        with _locked(self._path):
            if self.find(name) is not None:
                raise InvalidSettings(f"there is a user named {name!r} already: choose another")
            self._write([*self.all(), account])

    def remove(self, account: Account) -> None:
        """With all its tokens; durable on return."""
        with _locked(self._path):
            self._write([one for one in self.all() if one.id != account.id])

    def set_password(self, account: Account, password_hash: str) -> Account:
        """All tokens given so far end."""
        return self._change(
            account,
            lambda one: replace(one, password_hash=password_hash, generation=one.generation + 1),
        )

    def set_key(self, account: Account, key_hash: str) -> Account:
        """The API key before is good no longer."""
        return self._change(account, lambda one: replace(one, key_hash=key_hash))

    def end_tokens(self, account: Account) -> None:
        """All tokens given so far end."""
        self._change(account, lambda one: replace(one, generation=one.generation + 1))

    def _change(self, account: Account, change: Callable[[Account], Account]) -> Account:
        """Durable on return; one that was removed meanwhile stays so."""
        changed = account
        with _locked(self._path):
            rows = []
            for one in self.all():
                if one.id == account.id:
                    one = changed = change(one)
                rows.append(one)
            self._write(rows)
        return changed

    def _write(self, accounts: Sequence[Account]) -> None:
        rows = [asdict(account) for account in accounts]
        write_private(self._path, orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        self._by_id = {account.id: account for account in accounts}
        self._seen = _version_of(self._path)

    def _refresh(self) -> None:
        """Read the file again when it has changed; a broken one does not count."""
        seen = _version_of(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._by_id = {account.id: account for account in _read(self._path)}
        except (InvalidSettings, OSError) as error:
            log.error("accounts stay as they were: %s", error)


def _version_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """For changes: of this process and of others one at a time."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> list[Account]:
    text = read_private(path)
    if text is None:
        return []
    try:
        return [Account(**row) for row in orjson.loads(text)]
    except (orjson.JSONDecodeError, TypeError) as error:
        raise InvalidSettings(
            f"{path} is not a list of accounts ({error}): restore it, or remove it to start "
            f"with a new administrator"
        ) from error
