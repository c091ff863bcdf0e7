"""The web application of a process: its probes, device routes and the REST interface."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from edgeferry.runtime.health import Overall
from edgeferry.runtime.metrics import CONTENT_TYPE, Metrics
from edgeferry.runtime.read_access import may_read, refused_reader


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes show. ``read_token`` opens /metrics to others than this machine."""

    health: Callable[[], Overall]
    metrics: Metrics
    read_token: str = ""


def process_app(
    probes: Probes, *, device_routes: Sequence[BaseRoute] = (), rest: ASGIApp | None = None
) -> Starlette:
    """/healthz, /readyz and /metrics, then the gateway's device routes (they check their own
    tokens), then ``rest`` (it refuses whoever it does not know); without it all else is 401."""

    def trusted(request: Request) -> bool:
        return may_read(request, probes.read_token)

    async def healthz(request: Request) -> Response:
        overall = probes.health()
        return _report(overall, overall.alive, details=trusted(request))

    async def readyz(request: Request) -> Response:
        overall = probes.health()
        return _report(overall, overall.ready, details=trusted(request))

    async def metrics(request: Request) -> Response:
        if not trusted(request):
            return refused_reader()
        return Response(probes.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            *device_routes,
            _Everything(rest or _nothing_here),
        ],
        exception_handlers={ClientDisconnect: _client_left},
    )


class _Everything(BaseRoute):
    """Any path: a Mount lets one with a line feed through to nobody."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _report(overall: Overall, good: bool, *, details: bool) -> Response:
    """The details name hosts and errors: they are not for everybody."""
    parts = {
        name: {
            "alive": part.alive,
            "ready": part.ready,
            **({"detail": part.detail} if details else {}),
        }
        for name, part in overall.parts.items()
    }
    body = {"alive": overall.alive, "ready": overall.ready, "parts": parts}
    return Response(orjson.dumps(body), 200 if good else 503, media_type="application/json")


async def _client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


async def _nothing_here(scope: object, receive: object, send: object) -> None:
    raise HTTPException(401, "Nothing here is open to you.")
