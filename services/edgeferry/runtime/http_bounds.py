"""What one HTTP request may take: bytes and seconds, of its head and of its body."""

import asyncio
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edgeferry.runtime.connection_bound import ConnectionBound

HEAD_BYTES = 32_768
HEAD_SECONDS = 20.0
BODY_SECONDS = 30.0
_LENGTH_DIGITS = 19
_HEAD_TOO_LARGE = "The request's line and headers are too large."


class BoundedProtocol(HttpToolsProtocol):
    """Bounds the head in bytes and time and the body in time; uvicorn bounds neither."""

    def __init__(self, bound: ConnectionBound, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._bound = bound

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._bound.enter(self, self.client[0] if self.client else ""):
            self._set_timer(HEAD_SECONDS)
        else:
            self.abort()

    def abort(self) -> None:
        """See ``Bounded``."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bound.leave(self)
        self._clear_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(431, _HEAD_TOO_LARGE.encode())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0
        self._set_timer(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._bound.settle(self)
        self._set_timer(BODY_SECONDS)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else the next request was here already
            self._bound.wait(self)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        self._clear_timer()
        super().on_message_complete()

    def _set_timer(self, seconds: float) -> None:
        self._clear_timer()
        self._timer = self.loop.call_later(seconds, self._late)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._in_head:
            self._refuse(408, b"The request took too long to come.")
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int, text: bytes) -> None:
        self._clear_timer()
        if self.transport.is_closing():
            return
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        length = b"content-length: %d\r\n\r\n" % len(text)
        self.transport.write(STATUS_LINE[status] + head + length + text)
        self.transport.close()


class BoundedBodies:
    """Refuses bodies above ``body_bytes`` with 413.

    A body of declared length passes through untouched, as it cannot be longer than that;
    one without is gathered first."""

    def __init__(self, app: ASGIApp, body_bytes: int) -> None:
        self._app = app
        self._limit = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        head = len(scope["raw_path"]) + len(scope["query_string"])
        declared, streamed = 0, False
        for name, value in scope["headers"]:
            head += len(name) + len(value)
            if name == b"content-length":
                declared = content_length(value)
            elif name == b"transfer-encoding":
                streamed = True
        if head > HEAD_BYTES:
            close = {"connection": "close"}
            await PlainTextResponse(_HEAD_TOO_LARGE, 431, close)(scope, receive, send)
        elif declared > self._limit:
            await self._too_large()(scope, receive, send)
        elif not streamed:
            await self._app(scope, receive, send)
        else:
            body = await self._gather(receive)
            if body is None:
                await self._too_large()(scope, receive, send)
            else:
                await self._app(scope, _replay(body, receive), send)

    async def _gather(self, receive: Receive) -> bytes | None:
        """None when it is too large."""
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            if len(body) > self._limit:
                return None
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self) -> PlainTextResponse:
        # The connection stays open: uvicorn reads the rest and drops it until BODY_SECONDS are
        # over. Closing at once would make the client lose the answer while it still sends.
        return PlainTextResponse(f"The body is larger than {self._limit} bytes.", 413)


def content_length(value: bytes) -> int:
    """Of a header that holds digits alone; one that is longer than any body stands for the
    largest there is (Python refuses to convert thousands of digits)."""
    digits = value.lstrip(b"0")
    return int(digits or b"0") if len(digits) < _LENGTH_DIGITS else 2**63 - 1


def _replay(body: bytes, receive: Receive) -> Receive:
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
