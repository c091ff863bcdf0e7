"""Refuses whoever it does not know and what they may not do, whatever the path: a new route is
closed by default."""

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeferry.api.accounts import Account
from edgeferry.api.answers import error_answer
from edgeferry.api.auth import Auth
from edgeferry.api.authorities import Authority, may
from edgeferry.api.errors import ApiError, ErrorCode, Unauthenticated
from edgeferry.core.clock import Clock
from edgeferry.runtime.read_access import may_read

OPEN_PATHS = frozenset({"/api/auth/login", "/api/auth/token"})
REGISTRY_PATHS = ("/schemas/", "/subjects/")
"""For a user, and like the metrics for this machine and for the read token."""

_TOKEN_HEADERS = ("x-authorization", "authorization")


class Gate:
    """Sets ``request.state.account``, or answers 401 or 403. tenant_id: the site's; users of
    another have nothing here."""

    def __init__(
        self, app: ASGIApp, *, auth: Auth, clock: Clock, tenant_id: str, read_token: str
    ) -> None:
        self._app = app
        self._tenant_id = tenant_id
        self._auth = auth
        self._clock = clock
        self._read_token = read_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # there are no websockets, and uvicorn was told so
        request = HTTPConnection(scope)
        try:
            self._admit(request)
        except ApiError as error:
            await error_answer(error, self._clock)(scope, receive, _guarded(send))
        else:
            await self._app(scope, receive, _guarded(send))

    def _admit(self, request: HTTPConnection) -> None:
        path = request.scope["path"]
        if path in OPEN_PATHS:
            return
        registry = f"{path}/".startswith(REGISTRY_PATHS)
        if registry and may_read(request, self._read_token):
            return
        account = self._known(request)
        elsewhere = account.tenant_id != self._tenant_id
        if elsewhere and account.authority != Authority.SYS_ADMIN:
            raise _forbidden("This user belongs to another tenant than the site")
        if not may(account.authority, request.scope["method"], path):
            raise _forbidden("You don't have permission to perform this operation!")
        request.state.account = account

    def _known(self, request: HTTPConnection) -> Account:
        """Raises Unauthenticated."""
        for header in _TOKEN_HEADERS:
            kind, _, token = request.headers.get(header, "").partition(" ")
            if not token.strip():
                continue
            if kind.lower() == "bearer":
                return self._auth.authenticate(token.strip())
            if kind.lower() == "apikey":
                return self._auth.authenticate_key(token.strip())
        raise Unauthenticated("Authentication failed: give a token as X-Authorization: Bearer ...")


def _forbidden(text: str) -> ApiError:
    return ApiError(403, ErrorCode.PERMISSION_DENIED, text)


def _guarded(send: Send) -> Send:
    """What is private stays out of caches; what is JSON is not taken for a page."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers["Cache-Control"] = "no-store"
            headers["X-Content-Type-Options"] = "nosniff"
        await send(message)

    return guarded
