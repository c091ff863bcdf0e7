"""Devices over HTTP: POST /api/v1/{token}/telemetry and /attributes (semantics 7.2); the way
down stands in ``http_down``.

200 only after the durable append. Plain Starlette: nothing is modelled in the hot path.
"""

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgeferry.core.admission import Lane
from edgeferry.core.errors import (
    InvalidPayload,
    Later,
    LogUnavailable,
    PayloadTooLarge,
    RecordTooLarge,
)
from edgeferry.gateway.appender import weight
from edgeferry.gateway.gate import RATE, NotTaken
from edgeferry.gateway.http_down import MakeRecords, device_of, down_routes
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.metrics import GatewayMetrics
from edgeferry.gateway.not_yet import NotYet
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.http_bounds import content_length

APPEND_SECONDS = 5.0
_RETRY_AFTER = {"Retry-After": "5"}
_CLOSE = {"Connection": "close"}


def http_routes(gateway: Gateway) -> list[Route]:
    """Routes that answer 200, 400 (with the reason), 401, 405, 413, 429 or 503 with
    Retry-After."""
    return [
        *down_routes(gateway, _post_general),
        _provision_route(gateway),
        *_routes(gateway, "telemetry", "telemetry", gateway.records.telemetry),
        *_routes(gateway, "attributes", "general", gateway.records.attributes),
    ]


def _provision_route(gateway: Gateway) -> Route:
    async def provision(request: Request) -> Response:
        """200 with the credentials or why there are none; as other devices' requests else."""
        metrics, address = gateway.context.metrics, request.client.host if request.client else ""
        try:
            gateway.gate.room("general")
            payload = await _body(request, gateway.context.limits.payload_bytes)
            text = await gateway.api.provision("http", payload, address)
        except (InvalidPayload, Later, ClientDisconnect) as error:
            return _refused(metrics, error)
        return Response(text, media_type="application/json")

    return Route("/api/v1/provision", provision, methods=["POST"])


def _routes(gateway: Gateway, name: str, lane: Lane, make: MakeRecords) -> list[Route]:
    """Of all methods: what comes behind these routes must not answer for them."""

    async def post(request: Request) -> Response:
        return await _post(gateway, request, lane, make)

    path = f"/api/v1/{{token}}/{name}"
    others = _OtherMethods("GET, POST" if name == "attributes" else "POST")
    return [Route(path, post, methods=["POST"], name=f"device_{name}"), Route(path, others)]


class _OtherMethods:
    """Being no function, it gets every method."""

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"{self._allowed} is wanted here: nothing else goes by a device's token."
        answer = PlainTextResponse(text, 405, {"Allow": self._allowed})
        await answer(scope, receive, send)


async def _post_general(gateway: Gateway, request: Request, make: MakeRecords) -> Response:
    return await _post(gateway, request, "general", make)


async def _post(gateway: Gateway, request: Request, lane: Lane, make: MakeRecords) -> Response:
    metrics = gateway.context.metrics
    try:
        device = await device_of(gateway, request)
    except Later as error:
        return _refused(metrics, error)
    if device is None:
        metrics.rejected("http", "token")
        return Response(status_code=401)
    if gateway.appender.full:
        metrics.rejected("http", "busy")
        return _away("too much waits for the log")
    try:
        gateway.gate.room(lane)
        payload = await _body(request, gateway.context.limits.payload_bytes)
        gateway.gate.pass_or_refuse(device.id, len(payload))
        try:
            records = make(device, payload)
        except NotYet as wait:
            records = await wait.records()
        size = weight(len(payload), len(records))
        await gateway.appender.append(records, size, APPEND_SECONDS)
    except (RecordTooLarge, InvalidPayload, Later, ClientDisconnect) as error:
        return _refused(metrics, error)
    metrics.received("http", 1, len(payload))
    return Response(status_code=200)


def _refused(metrics: GatewayMetrics, error: Exception) -> Response:
    """Why nothing is promised, counted."""
    match error:
        case NotTaken():
            word, answer = error.word, _not_taken(error)
        case PayloadTooLarge() | RecordTooLarge():
            word, answer = "too_large", PlainTextResponse(str(error), 413, _CLOSE)
        case InvalidPayload():
            word, answer = "payload", PlainTextResponse(str(error), 400)
        case LookUpsBraked():
            word, answer = BRAKED, _away(str(error))
        case LogUnavailable():
            word, answer = "log", _unknown(str(error))
        case Later():
            word, answer = "store", _away(str(error))
        case _:
            word, answer = "disconnected", Response(status_code=400)
    metrics.rejected("http", word)
    return answer


async def _body(request: Request, limit: int) -> bytes:
    """The body, of which never more than the limit is kept. Raises PayloadTooLarge."""
    announced = content_length(request.headers.get("content-length", "").encode())
    if announced > limit:
        raise PayloadTooLarge(f"a payload of {announced} bytes is above the limit of {limit} bytes")
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise PayloadTooLarge(f"the payload is above the limit of {limit} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _not_taken(refused: NotTaken) -> Response:
    # without room the body was not even read
    status, close = (429, {}) if refused.word == RATE else (503, _CLOSE)
    body = {
        "status": status,
        "reason": refused.word,
        "message": f"not stored: {refused.text}",
        "retryAfterSeconds": refused.retry_after,
    }
    return JSONResponse(body, status, {"Retry-After": str(refused.retry_after), **close})


def _away(text: str) -> Response:
    return PlainTextResponse(
        f"not stored, try again: {text}", status_code=503, headers=_RETRY_AFTER
    )


def _unknown(text: str) -> Response:
    """The log was asked, and may still take what it was given."""
    return PlainTextResponse(
        f"not known to be stored, send it again: {text}", status_code=503, headers=_RETRY_AFTER
    )
