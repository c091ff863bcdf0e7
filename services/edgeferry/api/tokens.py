"""Access and refresh tokens: JWT, HS256."""

from typing import Any, Literal, NamedTuple

import jwt

from edgeferry.api.accounts import Account
from edgeferry.api.errors import ErrorCode, Unauthenticated
from edgeferry.core.clock import Clock
from edgeferry.core.ids import new_token

_ALGORITHM = "HS256"
_ISSUER = "edgeferry"
_REFRESH_SCOPE = "REFRESH_TOKEN"
_REQUIRED = ["exp", "iat", "iss", "sub", "userId", "token_type", "generation"]

Kind = Literal["access", "refresh"]


class TokenPair(NamedTuple):
    access: str
    refresh: str


class Lifetimes(NamedTuple):
    """Seconds."""

    access: int
    refresh: int


class Claims(NamedTuple):
    account_id: str
    generation: int


class Tokens:
    """Makes and reads tokens signed with ``secret`` (32 bytes or more)."""

    def __init__(self, secret: bytes, lifetimes: Lifetimes, clock: Clock) -> None:
        self._secret = secret
        self._lifetimes = lifetimes
        self._clock = clock

    def pair(self, account: Account) -> TokenPair:
        return TokenPair(self._make(account, "access"), self._make(account, "refresh"))

    def read(self, token: str, kind: Kind) -> Claims:
        """Raises Unauthenticated."""
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[_ALGORITHM],
                issuer=_ISSUER,
                # the clock is ours, not the library's
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False},
            )
            expires, generation = int(claims["exp"]), int(claims["generation"])
        except (jwt.InvalidTokenError, ValueError, TypeError) as error:
            raise Unauthenticated("Authentication failed: the token is not valid") from error
        if claims["token_type"] != kind:
            raise Unauthenticated(f"Authentication failed: this is no {kind} token")
        if expires * 1000 <= self._clock.now_ms():
            raise Unauthenticated("Token has expired", ErrorCode.TOKEN_EXPIRED)
        return Claims(str(claims["userId"]), generation)

    def _make(self, account: Account, kind: Kind) -> str:
        now = self._clock.now_ms() // 1000
        access = kind == "access"
        claims: dict[str, Any] = {
            "sub": account.username,
            "userId": account.id,
            "tenantId": account.tenant_id,
            "scopes": [account.authority if access else _REFRESH_SCOPE],
            "token_type": kind,
            "generation": account.generation,
            "iss": _ISSUER,
            "jti": new_token(),
            "iat": now,
            "exp": now + (self._lifetimes.access if access else self._lifetimes.refresh),
        }
        return jwt.encode(claims, self._secret, algorithm=_ALGORITHM)
