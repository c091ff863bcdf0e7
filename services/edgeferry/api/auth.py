"""Who may use the REST interface, and the first administrator."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from edgeferry.api.accounts import ACCOUNTS_FILE, ADMIN_USERNAME, Account, Accounts
from edgeferry.api.authorities import Authority
from edgeferry.api.errors import Unauthenticated
from edgeferry.api.login_brake import LoginBrake
from edgeferry.api.passwords import Passwords
from edgeferry.api.private_files import read_or_make, read_private, write_private
from edgeferry.api.tokens import Kind, Lifetimes, TokenPair, Tokens
from edgeferry.core.clock import Clock
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import new_entity_id, new_secret, new_token
from edgeferry.runtime.settings import ApiSettings

_SECRET_BYTES = 32


class Auth:
    """Logs in, renews and checks."""

    def __init__(
        self, accounts: Accounts, passwords: Passwords, tokens: Tokens, brake: LoginBrake
    ) -> None:
        self._accounts = accounts
        self._passwords = passwords
        self._tokens = tokens
        self._brake = brake

    async def login(self, username: str, password: str, address: str) -> TokenPair:
        """Raises Unauthenticated, TooManyAttempts."""
        self._brake.admit(username, address)
        account = self._accounts.find(username)
        password_hash = account.password_hash if account else None
        good = await self._passwords.verify(password_hash, password)
        if account is None or not good:
            raise Unauthenticated("Invalid username or password")
        self._brake.succeeded(username, address)
        return self._tokens.pair(account)

    def refresh(self, token: str) -> TokenPair:
        """Raises Unauthenticated."""
        return self._tokens.pair(self._account(token, "refresh"))

    def logout(self, account: Account) -> None:
        """All tokens that the account has been given end; durable on return."""
        self._accounts.end_tokens(account)

    def authenticate(self, token: str) -> Account:
        """Raises Unauthenticated."""
        return self._account(token, "access")

    def authenticate_key(self, key: str) -> Account:
        """Of an API key. Raises Unauthenticated."""
        account = self._accounts.with_key(hash_of_key(key))
        if account is None:
            raise Unauthenticated("Authentication failed: no user has this API key")
        return account

    def _account(self, token: str, kind: Kind) -> Account:
        claims = self._tokens.read(token, kind)
        account = self._accounts.get(claims.account_id)
        if account is None or account.generation != claims.generation:
            raise Unauthenticated("Authentication failed: log in again")
        return account


def hash_of_key(key: str) -> str:
    """Keys are long and random: a slow hash would add nothing."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


class Administrator(NamedTuple):
    """password: only when it was generated just now, to be shown once. password_file: where
    a generated one is kept; None when the operator set it."""

    username: str
    password: str | None
    password_file: Path | None


class OpenedAuth(NamedTuple):
    auth: Auth
    administrator: Administrator


def open_auth(
    data: Path,
    settings: ApiSettings,
    clock: Clock,
    *,
    tenant_id: str,
    admin_password: str | None = None,
    passwords: Passwords | None = None,
) -> OpenedAuth:
    """Read, or at the first start make, accounts, administrator and signing secret in
    ``data`` (contracts, section 4). Call it inside the event loop, before it serves.

    admin_password: EDGEFERRY_ADMIN_PASSWORD, which wins over the stored one.
    Raises InvalidSettings."""
    passwords = passwords or Passwords()
    accounts = Accounts(data / ACCOUNTS_FILE)
    administrator = _administrator(
        data, accounts, passwords, _Wanted(tenant_id, admin_password, clock.now_ms())
    )
    secret = settings.jwt_secret.get_secret_value().encode()
    if not secret:
        secret = read_or_make(data / "jwt-secret", new_secret).encode()
    if len(secret) < _SECRET_BYTES:
        raise InvalidSettings(
            f"the secret that signs tokens (setting api.jwt_secret, else {data / 'jwt-secret'}) "
            f"is shorter than {_SECRET_BYTES} bytes: set a longer one, or remove that file"
        )
    lifetimes = Lifetimes(settings.access_seconds, settings.refresh_seconds)
    tokens = Tokens(secret, lifetimes, clock)
    return OpenedAuth(Auth(accounts, passwords, tokens, LoginBrake(clock)), administrator)


class _Wanted(NamedTuple):
    tenant_id: str
    password: str | None
    now_ms: int


def _administrator(
    data: Path, accounts: Accounts, passwords: Passwords, wanted: _Wanted
) -> Administrator:
    password_file = data / "admin-password"
    account = accounts.find(ADMIN_USERNAME)
    generated = None
    password = wanted.password
    if account is None:
        if not password:
            # A crash between the two files must not leave a password that nobody knows.
            password = generated = read_private(password_file) or new_token()
            write_private(password_file, generated)
        accounts.add(
            Account(
                id=new_entity_id(),
                tenant_id=wanted.tenant_id,
                username=ADMIN_USERNAME,
                password_hash=passwords.hash(password),
                authority=Authority.TENANT_ADMIN.value,
                created_time=wanted.now_ms,
            )
        )
    elif password and not passwords.matches(account.password_hash, password):
        accounts.set_password(account, passwords.hash(password))
    if wanted.password:
        password_file.unlink(missing_ok=True)
    kept = password_file if password_file.exists() else None
    return Administrator(ADMIN_USERNAME, generated, kept)
