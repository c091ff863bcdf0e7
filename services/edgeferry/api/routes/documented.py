"""How the OpenAPI document says what the gate demands and how errors look."""

from typing import Any

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

TOKEN_WANTED = [
    Security(
        APIKeyHeader(
            name="X-Authorization", description="Bearer and an access token", auto_error=False
        )
    ),
    Security(HTTPBearer(auto_error=False)),
]


class ErrorBody(BaseModel):
    """How every error but a telemetry path's 400 is answered."""

    status: int
    message: str
    errorCode: int
    timestamp: str


TELEMETRY_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {
        "description": "What is wrong with the request",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
    401: {"description": "No valid token", "model": ErrorBody},
    503: {"description": "The store does not answer: try again", "model": ErrorBody},
    "default": {"description": "Any other error", "model": ErrorBody},
}
