"""What the REST interface answers when it cannot do what was asked (semantics of the
field, section 7.4: ``{status, message, errorCode, timestamp}``)."""

from collections.abc import Mapping
from enum import IntEnum

from edgeferry.core.errors import Never


class ErrorCode(IntEnum):
    """The field's numbers; client programs tell errors apart by them."""

    GENERAL = 2
    AUTHENTICATION = 10
    TOKEN_EXPIRED = 11
    PERMISSION_DENIED = 20
    BAD_REQUEST_PARAMS = 31
    NOT_FOUND = 32
    TOO_MANY_REQUESTS = 33
    VERSION_CONFLICT = 35
    DATABASE = 46


class ApiError(Never):
    """The caller acts: its request is answered with this status, code and text."""

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class Unauthenticated(ApiError):
    """The caller acts: it shows a token that is valid."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.AUTHENTICATION) -> None:
        super().__init__(401, code, message, {"WWW-Authenticate": "Bearer"})


class TooManyAttempts(ApiError):
    """The caller acts: it waits."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(
            429, ErrorCode.TOO_MANY_REQUESTS, message, {"Retry-After": str(max(1, seconds))}
        )


class BadTelemetryRequest(Never):
    """The caller acts: a telemetry path answers 400 with this as plain text."""
