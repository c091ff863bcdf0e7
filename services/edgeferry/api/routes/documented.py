"""How the OpenAPI document says what the gate demands."""

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer

TOKEN_WANTED = [
    Security(
        APIKeyHeader(
            name="X-Authorization", description="Bearer and an access token", auto_error=False
        )
    ),
    Security(HTTPBearer(auto_error=False)),
]
