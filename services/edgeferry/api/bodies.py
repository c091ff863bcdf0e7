"""Bodies of requests, read as devices' payloads are: numbers as they were written."""

from typing import Any

import orjson
from starlette.requests import Request

from edgeferry.api.errors import ApiError, BadTelemetryRequest, ErrorCode
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.values import PayloadLimits, check_depth, check_size, parse_json


async def payload(request: Request, limits: PayloadLimits) -> object:
    """The document in a body. Raises BadTelemetryRequest."""
    body = await request.body()
    if not body.strip():
        raise BadTelemetryRequest("Request body should not be empty")
    try:
        check_size(body, limits)
        document = parse_json(body)
        check_depth(document, limits)
    except InvalidPayload as error:
        raise BadTelemetryRequest(str(error)) from None
    return document


async def json_object(request: Request, limits: PayloadLimits) -> dict[str, Any]:
    """An entity's or a command's body. Raises ApiError."""
    body = await request.body()
    try:
        check_size(body, limits)
        document = orjson.loads(body)
        check_depth(document, limits)
    except (InvalidPayload, ValueError, RecursionError) as error:
        raise bad_request(f"the body is no JSON that is taken: {error}") from None
    if not isinstance(document, dict):
        raise bad_request("the body: a JSON object is wanted")
    return document


def bad_request(text: str) -> ApiError:
    return ApiError(400, ErrorCode.BAD_REQUEST_PARAMS, text)
