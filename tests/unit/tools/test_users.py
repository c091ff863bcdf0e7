"""``edgeferry users``: on a site that runs or not."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgeferry.api.accounts import ACCOUNTS_FILE, ADMIN_USERNAME, Accounts
from edgeferry.api.auth import hash_of_key, open_auth
from edgeferry.api.passwords import Passwords
from edgeferry.core.clock import ManualClock
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.runtime.settings import ApiSettings
from edgeferry.tools.users import users


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "settings.yaml").write_text(f"role: cloud\ndata: {tmp_path / 'data'}\n")
    return tmp_path / "data"


def run(data: Path, *arguments: str, said: str = "") -> Result:
    settings = ["--settings", str(data.parent / "settings.yaml")]
    return CliRunner().invoke(users, [*arguments, *settings], input=said)


def told(data: Path, *arguments: str, said: str = "") -> Any:
    result = run(data, *arguments, "--json", said=said)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_user_is_added_with_a_password_that_is_shown_once(data: Path) -> None:
    made = told(data, "add", "ann@plant.example")
    assert made["authority"] == "CUSTOMER_USER"
    account = Accounts(data / ACCOUNTS_FILE).find("ANN@plant.example")
    assert account is not None
    assert Passwords().matches(account.password_hash, made["password"])
    assert made["password"] not in (data / ACCOUNTS_FILE).read_text()
    assert stat.S_IMODE((data / ACCOUNTS_FILE).stat().st_mode) == 0o600
    shown = run(data, "list")
    assert "ann@plant.example" in shown.stdout
    assert made["password"] not in shown.output


def test_a_password_may_be_given_and_is_not_shown(data: Path) -> None:
    options = ("--authority", "TENANT_ADMIN", "--password-file", "-")
    made = told(data, "add", "bob", *options, said="correct horse\n")
    assert made == {"name": "bob", "authority": "TENANT_ADMIN"}
    account = Accounts(data / ACCOUNTS_FILE).find("bob")
    assert account is not None
    assert Passwords().matches(account.password_hash, "correct horse")


@pytest.mark.parametrize(
    ("name", "said", "problem"),
    [
        ("bob", "long enough", "already"),
        ("BOB", "long enough", "already"),
        (" ", "long enough", "printable name"),
        ("x" * 256, "long enough", "printable name"),
        ("carl", "short", "at least 8"),
        ("carl", "", "at least 8"),
    ],
)
def test_what_is_no_user_is_refused(data: Path, name: str, said: str, problem: str) -> None:
    told(data, "add", "bob")
    refused = run(data, "add", name, "--password-file", "-", said=said)
    assert refused.exit_code == 1
    assert problem in refused.output
    assert len(Accounts(data / ACCOUNTS_FILE).all()) == 1


def test_a_key_takes_the_place_of_the_one_before(data: Path) -> None:
    told(data, "add", "robot")
    first, second = (told(data, "key", "robot")["key"] for _ in range(2))
    accounts = Accounts(data / ACCOUNTS_FILE)
    assert accounts.with_key(hash_of_key(first)) is None
    account = accounts.with_key(hash_of_key(second))
    assert account is not None
    assert account.username == "robot"
    assert told(data, "list")[0]["key"] == "yes"
    told(data, "key", "robot", "--remove")
    assert accounts.with_key(hash_of_key(second)) is None


def test_a_removed_user_is_gone_at_once(data: Path) -> None:
    told(data, "add", "bob")
    running = Accounts(data / ACCOUNTS_FILE)
    assert running.find("bob") is not None
    told(data, "remove", "bob")
    assert running.find("bob") is None
    again = run(data, "remove", "bob")
    assert (again.exit_code, "edgeferry users list" in again.output) == (1, True)


def test_the_administrator_stays(data: Path) -> None:
    data.mkdir()
    open_auth(data, ApiSettings(), ManualClock(), tenant_id=DEFAULT_TENANT_ID)
    refused = run(data, "remove", ADMIN_USERNAME)
    assert (refused.exit_code, "EDGEFERRY_ADMIN_PASSWORD" in refused.output) == (1, True)


def test_a_file_that_breaks_while_the_site_runs_changes_nothing(data: Path) -> None:
    told(data, "add", "bob")
    running = Accounts(data / ACCOUNTS_FILE)
    (data / ACCOUNTS_FILE).write_text("[{")
    assert running.find("bob") is not None
