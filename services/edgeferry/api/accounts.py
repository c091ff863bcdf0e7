"""The people who may use the REST interface, in a file of the data folder."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from edgeferry.api.private_files import read_private, write_private
from edgeferry.core.errors import InvalidSettings

ADMIN_USERNAME = "tenant@edgeferry.local"
"""Of the administrator that the first start makes."""


@dataclass(frozen=True, slots=True)
class Account:
    """created_time in ms. generation: rises with every change of password; tokens name the
    one they were given under, so older ones end with it."""

    id: str
    tenant_id: str
    username: str
    password_hash: str
    authority: str
    created_time: int
    generation: int = 1


class Accounts:
    """All accounts, in memory and in ``path`` (JSON, mode 0600)."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidSettings when the file is broken."""
        self._path = path
        self._by_id = {account.id: account for account in _read(path)}

    def find(self, username: str) -> Account | None:
        """User names are equal in upper and lower case."""
        wanted = username.casefold()
        for account in self._by_id.values():
            if account.username.casefold() == wanted:
                return account
        return None

    def get(self, account_id: str) -> Account | None:
        return self._by_id.get(account_id)

    def put(self, account: Account) -> None:
        """Add or replace; durable on return."""
        changed = {**self._by_id, account.id: account}
        rows = [asdict(each) for each in changed.values()]
        write_private(self._path, orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode())
        self._by_id = changed

    def set_password(self, account: Account, password_hash: str) -> Account:
        """All tokens given so far end."""
        changed = replace(account, password_hash=password_hash, generation=account.generation + 1)
        self.put(changed)
        return changed

    def end_tokens(self, account: Account) -> None:
        """All tokens given so far end."""
        self.put(replace(account, generation=account.generation + 1))


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
