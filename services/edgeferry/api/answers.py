"""How answers are written: JSON by orjson, errors in the field's shape."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import Response

from edgeferry.api.errors import ApiError
from edgeferry.core.clock import Clock


def json_answer(
    content: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(content), status, headers=headers, media_type="application/json")


def error_answer(error: ApiError, clock: Clock) -> Response:
    """``{status, message, errorCode, timestamp}``, the time in ISO 8601 with milliseconds."""
    moment = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    body = {
        "status": error.status,
        "message": error.message,
        "errorCode": int(error.code),
        "timestamp": moment.isoformat(timespec="milliseconds"),
    }
    return json_answer(body, error.status, error.headers)
