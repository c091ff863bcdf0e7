"""The REST interface, the same at the Edge and in the Cloud (contracts, section 5)."""

import errno
import logging
from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route

from edgeferry.api.answers import error_answer
from edgeferry.api.context import ApiContext
from edgeferry.api.errors import ApiError, BadTelemetryRequest, ErrorCode
from edgeferry.api.gate import Gate
from edgeferry.api.routes import (
    auth,
    devices,
    edges,
    profiles,
    rpc,
    schemas,
    telemetry,
    telemetry_writes,
)
from edgeferry.core.changes import NotAppliedYet
from edgeferry.core.errors import (
    ChangeRefused,
    EntityGone,
    LogUnavailable,
    RecordTooLarge,
    StoreUnavailable,
)

_RETRY_SECONDS = "2"
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_CODES = {
    401: ErrorCode.AUTHENTICATION,
    403: ErrorCode.PERMISSION_DENIED,
    404: ErrorCode.NOT_FOUND,
}

log = logging.getLogger(__name__)


def build_api(context: ApiContext) -> FastAPI:
    """All of it, behind the gate. /openapi.json too wants a token; there are no doc pages."""
    app = FastAPI(
        title="Edgeferry",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(
                Gate,
                auth=context.auth,
                clock=context.clock,
                tenant_id=context.writing.tenant_id,
                read_token=context.read_token,
            )
        ],
    )
    parts = (auth, telemetry, telemetry_writes, rpc, devices, profiles, edges, schemas)
    routers = [part.routes(context) for part in parts]
    for router in routers:
        app.include_router(router)
    _answer_errors(app, context, [route for router in routers for route in router.routes])
    return app


def _answer_errors(app: FastAPI, context: ApiContext, routes: Sequence[BaseRoute]) -> None:
    def answer(error: ApiError) -> Response:
        return error_answer(error, context.clock)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return answer(error)

    @app.exception_handler(BadTelemetryRequest)
    async def bad_telemetry(request: Request, error: BadTelemetryRequest) -> Response:
        return PlainTextResponse(str(error), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        text = "; ".join(_problem(problem) for problem in error.errors())
        if request.url.path.startswith(telemetry.PREFIX):
            return PlainTextResponse(text, 400)
        return answer(ApiError(400, ErrorCode.BAD_REQUEST_PARAMS, text))

    @app.exception_handler(StoreUnavailable)
    async def store_away(request: Request, error: StoreUnavailable) -> Response:
        return answer(_later("The store does not answer at the moment: try again"))

    @app.exception_handler(LogUnavailable)
    async def log_away(request: Request, error: LogUnavailable) -> Response:
        return answer(
            _later("The log does not take it at the moment, it is not known to be kept: try again")
        )

    @app.exception_handler(OSError)
    async def disk_fault(request: Request, error: OSError) -> Response:
        if error.errno not in _DISK_ERRORS:
            raise error
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(
            _later(
                f"The disk of this site cannot be written ({error.strerror}), so this was not "
                "done, or not to its end: make room on it and ask again"
            )
        )

    @app.exception_handler(NotAppliedYet)
    async def not_applied(request: Request, error: NotAppliedYet) -> Response:
        return answer(_later(str(error)))

    @app.exception_handler(ChangeRefused)
    async def refused(request: Request, error: ChangeRefused) -> Response:
        return answer(ApiError(400, ErrorCode.BAD_REQUEST_PARAMS, str(error)))

    @app.exception_handler(EntityGone)
    async def gone(request: Request, error: EntityGone) -> Response:
        return answer(ApiError(404, ErrorCode.NOT_FOUND, str(error)))

    @app.exception_handler(RecordTooLarge)
    async def too_large(request: Request, error: RecordTooLarge) -> Response:
        return answer(ApiError(413, ErrorCode.BAD_REQUEST_PARAMS, str(error)))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, ErrorCode.GENERAL)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(routes, request) or headers.get("Allow", "")
        return answer(ApiError(error.status_code, code, error.detail, headers))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return answer(ApiError(500, ErrorCode.GENERAL, "Internal error: see the log"))


def _allowed(routes: Sequence[BaseRoute], request: Request) -> str:
    """The methods of all routes of a path: the framework knows those of the first. Where a
    name and a parameter both match, the name is meant."""
    matching = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    fewest = min((len(route.param_convertors) for route in matching), default=0)
    methods = set[str]()
    for route in matching:
        if len(route.param_convertors) == fewest:
            methods |= route.methods or set()
    return ", ".join(sorted(methods))


def _later(text: str) -> ApiError:
    return ApiError(503, ErrorCode.DATABASE, text, {"Retry-After": _RETRY_SECONDS})


def _problem(problem: dict[str, object]) -> str:
    """Never what was given: it may be a password."""
    location = problem["loc"]
    names = [str(part) for part in location[1:]] if isinstance(location, tuple) else []
    return f"{'.'.join(names) or 'body'}: {problem['msg']}"
