"""How the OpenAPI document says what the gate demands, what is to be sent and how errors look."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

TOKEN_WANTED: Final = [
    Security(
        APIKeyHeader(
            name="X-Authorization",
            description="`Bearer` and an access token, or `ApiKey` and an API key",
            auto_error=False,
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


class RegistryError(BaseModel):
    """Confluent's own shape, as its clients read it."""

    error_code: int
    message: str


Responses = dict[int | str, dict[str, Any]]

_ANY_ERROR: Final[Responses] = {
    "default": {"description": "Any other error", "model": ErrorBody},
}
ERRORS: Final[Responses] = {
    400: {"description": "What is wrong with the request", "model": ErrorBody},
    401: {"description": "No valid token", "model": ErrorBody},
    403: {"description": "Not for this user, or not at this site", "model": ErrorBody},
    404: {"description": "There is no such thing", "model": ErrorBody},
    503: {"description": "The store or the log does not answer: try again", "model": ErrorBody},
    **_ANY_ERROR,
}
TELEMETRY_ERRORS: Final[Responses] = {
    **ERRORS,
    400: {
        "description": "What is wrong with the request",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    },
}
LOGIN_ERRORS: Final[Responses] = {
    400: ERRORS[400],
    401: {"description": "Not the right password or token", "model": ErrorBody},
    429: {"description": "Too many attempts: wait", "model": ErrorBody},
    **_ANY_ERROR,
}
REGISTRY_ERRORS: Final[Responses] = {
    400: ERRORS[400],
    401: ERRORS[401],
    403: ERRORS[403],
    404: {"description": "There is no such schema", "model": RegistryError},
    **_ANY_ERROR,
}

_TEXT: Final = {"type": ["string", "null"], "maxLength": 255}
_ID: Final = {
    "type": ["object", "null"],
    "properties": {
        "entityType": {"type": "string"},
        "id": {"type": "string", "format": "uuid"},
    },
}
_NAMED: Final[Mapping[str, Any]] = {
    "id": _ID,
    "name": {"type": "string", "minLength": 1, "maxLength": 255},
    "type": _TEXT,
    "label": _TEXT,
    "additionalInfo": {"type": ["object", "null"]},
    "version": {"type": ["integer", "null"], "description": "409 when it is not the last one"},
}
DEVICE: Final = {
    "type": "object",
    "properties": {
        **_NAMED,
        "deviceProfileId": {**_ID, "description": "goes before type"},
    },
    "required": ["name"],
}
EDGE: Final = {
    "type": "object",
    "properties": {
        **_NAMED,
        "routingKey": {**_TEXT, "description": "made when left out"},
        "secret": {**_TEXT, "description": "made when left out"},
    },
    "required": ["name"],
}
CREDENTIALS: Final = {
    "type": "object",
    "properties": {
        "deviceId": _ID,
        "credentialsType": {"enum": ["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]},
        "credentialsId": {"type": ["string", "null"], "description": "of ACCESS_TOKEN: the token"},
        "credentialsValue": {
            "type": ["string", "null"],
            "description": 'of MQTT_BASIC: the text of {"clientId", "userName", "password"}; of '
            "X509_CERTIFICATE: PEM",
        },
    },
    "required": ["credentialsType"],
}
DEVICE_WITH_CREDENTIALS: Final = {
    "type": "object",
    "properties": {"device": DEVICE, "credentials": CREDENTIALS},
    "required": ["device", "credentials"],
}
_WHOLE: Final = {"type": ["integer", "null"], "minimum": 0}
COMMAND: Final = {
    "type": "object",
    "properties": {
        "method": {"type": "string", "minLength": 1},
        "params": {},
        "timeout": {**_WHOLE, "description": "ms, at least 5000; 10000 when left out"},
        "expirationTime": {**_WHOLE, "description": "ms since 1970"},
        "persistent": {"type": ["boolean", "null"]},
        "retries": _WHOLE,
        "additionalInfo": {},
    },
    "required": ["method"],
}
ATTRIBUTES: Final = {"type": "object", "minProperties": 1}
TELEMETRY: Final = {"type": ["object", "array"]}


def takes(schema: Mapping[str, Any]) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body itself."""
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
