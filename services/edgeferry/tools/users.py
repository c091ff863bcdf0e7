"""``edgeferry users``: who may use a site's REST interface."""

from pathlib import Path
from typing import TextIO

import click

from edgeferry.api.accounts import ACCOUNTS_FILE, ADMIN_USERNAME, Account, Accounts
from edgeferry.api.auth import hash_of_key
from edgeferry.api.authorities import Authority
from edgeferry.api.passwords import Passwords
from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import new_entity_id, new_secret, new_token
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table

_LEAST_CHARACTERS = 8


@click.group()
def users() -> None:
    """The users of a site's REST interface: add, list, remove. A running site takes a change at
    once."""


@users.command()
@click.argument("name")
@click.option(
    "--authority",
    type=click.Choice([one.value for one in Authority]),
    default=Authority.CUSTOMER_USER.value,
    show_default=True,
    help="CUSTOMER_USER reads, TENANT_ADMIN changes, too.",
)
@click.option(
    "--password-file",
    type=click.File(),
    help="Its password, in the first line; -: standard input.  [default: a random one, shown]",
)
@settings_option("cloud")
@json_option
@asynchronous
async def add(
    name: str,
    authority: str,
    password_file: TextIO | None,
    settings_file: Path,
    as_json: bool,
) -> None:
    """Add a user named NAME, an e-mail address by custom."""
    settings = load_settings(settings_file)
    given = _given(password_file)
    password = new_token() if given is None else given
    account = Account(
        id=new_entity_id(),
        tenant_id=settings.tenant_id,
        username=name,
        password_hash=Passwords().hash(password),
        authority=authority,
        created_time=SystemClock().now_ms(),
    )
    _accounts(settings).add(account)
    _print_one(account, {} if given is not None else {"password": password}, as_json)


@users.command("list")
@settings_option("cloud")
@json_option
@asynchronous
async def list_users(settings_file: Path, as_json: bool) -> None:
    """All users."""
    rows = [_row(account) for account in _accounts(load_settings(settings_file)).all()]
    if as_json:
        print_json(rows)
    else:
        print_table(("name", "authority", "api key", "id"), (row.values() for row in rows))


@users.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def remove(name: str, settings_file: Path, as_json: bool) -> None:
    """Remove the user NAME; its tokens and its API key are good no longer."""
    accounts = _accounts(load_settings(settings_file))
    account = _named(accounts, name)
    if account.username == ADMIN_USERNAME:
        raise InvalidSettings(
            f"{ADMIN_USERNAME} stays: the site makes it at each start where it is missing. "
            "EDGEFERRY_ADMIN_PASSWORD gives it another password"
        )
    accounts.remove(account)
    _print_one(account, {}, as_json)


@users.command()
@click.argument("name")
@click.option("--remove", "without", is_flag=True, help="Take the key away.")
@settings_option("cloud")
@json_option
@asynchronous
async def key(name: str, without: bool, settings_file: Path, as_json: bool) -> None:
    """Give the user NAME an API key, shown once, in place of the one before. Programs send it as
    `X-Authorization: ApiKey KEY`."""
    accounts = _accounts(load_settings(settings_file))
    made = new_secret()
    account = accounts.set_key(_named(accounts, name), "" if without else hash_of_key(made))
    _print_one(account, {} if without else {"key": made}, as_json)


def _given(password_file: TextIO | None) -> str | None:
    """Raises InvalidSettings."""
    if password_file is None:
        return None
    password = password_file.readline().rstrip("\r\n")
    if len(password) < _LEAST_CHARACTERS:
        raise InvalidSettings(f"the password: at least {_LEAST_CHARACTERS} characters are wanted")
    return password


def _accounts(settings: Settings) -> Accounts:
    return Accounts(settings.data / ACCOUNTS_FILE)


def _named(accounts: Accounts, name: str) -> Account:
    """Raises InvalidSettings."""
    account = accounts.find(name)
    if account is None:
        raise InvalidSettings(f"there is no user named {name!r}: see `edgeferry users list`")
    return account


def _row(account: Account) -> dict[str, str]:
    return {
        "name": account.username,
        "authority": account.authority,
        "key": "yes" if account.key_hash else "no",
        "id": account.id,
    }


def _print_one(account: Account, shown: dict[str, str], as_json: bool) -> None:
    """shown: what is kept nowhere, after this."""
    row = {"name": account.username, "authority": account.authority, **shown}
    if as_json:
        print_json(row)
        return
    print_table(tuple(row), [row.values()])
    for what in shown:
        click.echo(f"The {what} is kept nowhere: this is the one time that it is shown.", err=True)
