import asyncio
import stat
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from pydantic import SecretStr

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.api.auth import OpenedAuth, open_auth
from edgeferry.api.errors import Unauthenticated
from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.runtime.settings import ApiSettings
from tests.unit.api.site import JWT_SECRET, PASSWORD, Site, quick_passwords

TELEMETRY = "/api/plugins/telemetry/DEVICE/784f394c-42b6-11ec-81d3-0242ac130003/values/timeseries"
CLOSED = [
    TELEMETRY,
    "/api/auth/user",
    "/openapi.json",
    "/subjects",
    "/schemas/ids/1",
    "/docs",
    "/redoc",
    "/",
    "/no/such/path",
    "/api/auth/login/",
    "/api/auth/login/../user",
]


def altered(token: str, **claims: Any) -> str:
    body = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode({**body, **claims}, JWT_SECRET, algorithm="HS256")


def assert_refused(answer: httpx.Response, code: int = 10) -> None:
    assert answer.status_code == 401, answer.text
    body = answer.json()
    assert (body["status"], body["errorCode"]) == (401, code)
    assert set(body) == {"status", "message", "errorCode", "timestamp"}
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio
@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
async def test_nothing_is_open_without_a_token(site: Site, path: str, method: str) -> None:
    async with site.client() as client:
        assert_refused(await client.request(method, path))


@pytest.mark.asyncio
@pytest.mark.parametrize("header", ["X-Authorization", "Authorization"])
async def test_a_token_opens_in_either_header(site: Site, header: str) -> None:
    token = (await site.login())["token"]
    async with site.client({header: f"Bearer {token}"}) as client:
        assert (await client.get(TELEMETRY)).status_code == 200
        answer = await client.get("/api/auth/user")
    user = answer.json()
    assert (user["email"], user["authority"]) == (ADMIN_USERNAME, "TENANT_ADMIN")
    assert user["tenantId"] == {"entityType": "TENANT", "id": DEFAULT_TENANT_ID}
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.asyncio
async def test_tokens_that_are_not_good_are_refused(site: Site) -> None:
    pair = await site.login()
    good = pair["token"]
    body = jwt.decode(good, options={"verify_signature": False})
    head, payload, signature = good.split(".")
    bad = {
        "refresh used as access": pair["refreshToken"],
        "not a token": "abc",
        "empty": "",
        "another secret": jwt.encode(body, "another secret that is long enough too", "HS256"),
        "no signature": jwt.encode(body, "", algorithm="none"),
        "signature cut off": f"{head}.{payload}.",
        "another algorithm": jwt.encode(body, JWT_SECRET * 2, algorithm="HS512"),
        "signature of another": f"{head}.{payload}.{signature[::-1]}",
        "another issuer": altered(good, iss="somebody"),
        "a user who does not exist": altered(good, userId="nobody"),
        "an old generation": altered(good, generation=0),
        "no sensible generation": altered(good, generation="new"),
        "no type": altered(good, token_type=None),
        "without an end": jwt.encode(
            {k: v for k, v in body.items() if k != "exp"}, JWT_SECRET, algorithm="HS256"
        ),
    }
    for why, token in bad.items():
        async with site.client({"X-Authorization": f"Bearer {token}"}) as client:
            answer = await client.get(TELEMETRY)
            assert answer.status_code == 401, why
            assert_refused(answer)
    async with site.client({"X-Authorization": f"Basic {good}"}) as client:
        assert_refused(await client.get(TELEMETRY))


@pytest.mark.asyncio
async def test_an_access_token_ends_and_a_refresh_token_renews_it(site: Site) -> None:
    pair = await site.login()
    site.clock.advance(901)
    async with site.client() as client:
        headers = {"X-Authorization": f"Bearer {pair['token']}"}
        assert_refused(await client.get(TELEMETRY, headers=headers), code=11)
        answer = await client.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]})
        assert answer.status_code == 200
        headers = {"X-Authorization": f"Bearer {answer.json()['token']}"}
        assert (await client.get(TELEMETRY, headers=headers)).status_code == 200


@pytest.mark.asyncio
async def test_only_a_refresh_token_renews(site: Site) -> None:
    pair = await site.login()
    async with site.client() as client:
        for token in (pair["token"], "abc"):
            answer = await client.post("/api/auth/token", json={"refreshToken": token})
            assert_refused(answer)
        site.clock.advance(8 * 86_400)
        answer = await client.post("/api/auth/token", json={"refreshToken": pair["refreshToken"]})
        assert_refused(answer, code=11)


@pytest.mark.asyncio
@pytest.mark.parametrize("username", [ADMIN_USERNAME, "nobody@edgeferry.local", ""])
async def test_a_wrong_login_does_not_tell_whether_the_user_exists(
    site: Site, username: str
) -> None:
    async with site.client() as client:
        answer = await client.post(
            "/api/auth/login", json={"username": username, "password": "wrong"}
        )
    assert_refused(answer)
    assert answer.json()["message"] == "Invalid username or password"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"username": "a"}', b'{"username": 1, "password": "hidden-7"}'],
)
async def test_a_malformed_login_is_400_and_never_repeats_what_was_sent(
    site: Site, body: bytes
) -> None:
    async with site.client({"Content-Type": "application/json"}) as client:
        answer = await client.post("/api/auth/login", content=body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, 31)
    assert "hidden-7" not in answer.text


@pytest.mark.asyncio
async def test_guessing_is_slowed_down_per_user_and_address(site: Site) -> None:
    guess = {"username": ADMIN_USERNAME, "password": "wrong"}
    right = {"username": ADMIN_USERNAME, "password": PASSWORD}
    async with site.client() as guesser, site.client(address=("198.51.100.9", 1)) as owner:
        answers = [await guesser.post("/api/auth/login", json=guess) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
        assert answers[-1].json()["errorCode"] == 33
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await guesser.post("/api/auth/login", json=right)).status_code == 429
        assert (await owner.post("/api/auth/login", json=right)).status_code == 200
        site.clock.advance(301)
        assert (await guesser.post("/api/auth/login", json=right)).status_code == 200


@pytest.mark.asyncio
async def test_many_guesses_at_once_get_no_further(site: Site) -> None:
    async with site.client() as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    "/api/auth/login", json={"username": ADMIN_USERNAME, "password": str(i)}
                )
                for i in range(40)
            )
        )
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(401) <= 10
    assert statuses.count(429) >= 30


def opened(data: Path, admin_password: str | None = None, secret: str = "") -> OpenedAuth:
    return open_auth(
        data,
        ApiSettings(jwt_secret=SecretStr(secret)),
        ManualClock(),
        tenant_id=DEFAULT_TENANT_ID,
        admin_password=admin_password,
        passwords=quick_passwords(),
    )


@pytest.mark.asyncio
async def test_the_first_start_makes_an_administrator_and_shows_the_password_once(
    tmp_path: Path,
) -> None:
    first = opened(tmp_path)
    password = first.administrator.password
    assert password is not None
    assert first.administrator.password_file == tmp_path / "admin-password"
    assert (tmp_path / "admin-password").read_text() == password
    pair = await first.auth.login(ADMIN_USERNAME.upper(), password, "127.0.0.1")

    second = opened(tmp_path)
    assert second.administrator.password is None
    assert second.administrator.password_file == tmp_path / "admin-password"
    assert second.auth.authenticate(pair.access).username == ADMIN_USERNAME
    await second.auth.login(ADMIN_USERNAME, password, "127.0.0.1")


def test_what_the_data_folder_keeps_is_the_owners_alone(tmp_path: Path) -> None:
    opened(tmp_path)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert files == {
        "accounts.json": 0o600,
        "accounts.json.lock": 0o600,
        "admin-password": 0o600,
        "jwt-secret": 0o600,
    }
    (tmp_path / "jwt-secret").chmod(0o644)
    opened(tmp_path)
    assert stat.S_IMODE((tmp_path / "jwt-secret").stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_a_password_set_from_outside_replaces_the_stored_one_and_ends_its_tokens(
    tmp_path: Path,
) -> None:
    first = opened(tmp_path)
    assert first.administrator.password is not None
    old = await first.auth.login(ADMIN_USERNAME, first.administrator.password, "127.0.0.1")

    second = opened(tmp_path, admin_password="set from outside")
    assert second.administrator == (ADMIN_USERNAME, None, None)
    assert not (tmp_path / "admin-password").exists()
    new = await second.auth.login(ADMIN_USERNAME, "set from outside", "127.0.0.1")
    with pytest.raises(Unauthenticated):
        second.auth.authenticate(old.access)
    with pytest.raises(Unauthenticated):
        second.auth.refresh(old.refresh)

    third = opened(tmp_path, admin_password="set from outside")
    assert third.auth.authenticate(new.access).username == ADMIN_USERNAME


def test_a_crash_between_the_first_files_keeps_the_password_known(tmp_path: Path) -> None:
    password = opened(tmp_path).administrator.password
    (tmp_path / "accounts.json").unlink()
    assert opened(tmp_path).administrator.password == password


def test_a_broken_accounts_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text("{")
    with pytest.raises(InvalidSettings, match=r"accounts\.json is not a list of accounts"):
        opened(tmp_path)


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"api\.jwt_secret.* is shorter than 32 bytes"):
        opened(tmp_path, secret="short")
