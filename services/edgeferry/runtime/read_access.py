"""Who may read what is not for everybody and not for users either: metrics and schemas."""

import base64
import binascii
import hmac
import ipaddress

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def may_read(request: HTTPConnection, read_token: str) -> bool:
    """From this machine itself, or with the read token (Bearer, or Basic's password).

    A proxy on this machine speaks for others, so what it forwards is not local."""
    if _is_local(request):
        return True
    given = _given_token(request.headers.get("authorization", ""))
    return bool(read_token) and hmac.compare_digest(given.encode(), read_token.encode())


def refused_reader() -> Response:
    """What others are answered."""
    return PlainTextResponse(
        "Not from this machine: give the read token (setting api.read_token) as Bearer.",
        401,
        {"WWW-Authenticate": "Bearer"},
    )


def _is_local(request: HTTPConnection) -> bool:
    client = request.client
    if client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(client.host).is_loopback
    except ValueError:
        return False


def _given_token(authorization: str) -> str:
    kind, _, text = authorization.partition(" ")
    if kind.lower() == "bearer":
        return text.strip()
    if kind.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]
