"""Devices over HTTP, the way down: attributes, long polls and calls (semantics 7.2)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgeferry.core.errors import Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.attribute_requests import wanted
from edgeferry.gateway.device_api import DeviceApi
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Login
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.payload import to_text
from edgeferry.gateway.ports import Command, Handed
from edgeferry.gateway.server import Gateway
from edgeferry.gateway.topics import MAX_REQUEST_ID

DEFAULT_MS: Final = 60_000
LONGEST_MS: Final = 300_000

MakeRecords = Callable[[Device, bytes], list[Outgoing]]
Take = Callable[[Gateway, Request, MakeRecords], Awaitable[Response]]
"""Reads a device's POST, makes it durable, answers 200 or why not."""


log = logging.getLogger(__name__)


class Poll:
    """A DeviceLink for one question over HTTP: ends with its first answer. ``request_id``: of
    the command that is its answer, which is delivered when the response was sent."""

    def __init__(self, *, attributes: bool = False, commands: bool = False) -> None:
        self._attributes = attributes
        self._commands = commands
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.body: dict[str, object] = {}
        self.text = ""
        self.request_id: int | None = None

    @property
    def owner(self) -> object:
        return self

    def wants_attributes(self) -> bool:
        return self._attributes

    def wants_commands(self) -> bool:
        return self._commands and not self.answered.done()

    def attributes(self, updates: Mapping[str, object], deletes: Sequence[str]) -> None:
        deleted = self.body.pop("deleted", [])
        assert isinstance(deleted, list)
        gone = [key for key in deleted if key not in updates] + list(deletes)
        self.body = {k: v for k, v in self.body.items() if k not in gone} | dict(updates)
        self._done(to_text(self.body | ({"deleted": gone} if gone else {})))
        if gone:
            self.body["deleted"] = gone

    def command(self, request_id: int, command: Command) -> Handed:
        if self.answered.done():
            return Handed.REFUSED
        method = to_text(command.method)
        self.request_id = request_id
        self._done(f'{{"id":{request_id},"method":{method},"params":{command.params}}}')
        return Handed.SENT

    def answer(self, call_id: int, data: str) -> None:
        self._done(data)

    def _done(self, text: str) -> None:
        self.text = text
        if not self.answered.done():
            self.answered.set_result(None)


def down_routes(gateway: Gateway, take: Take) -> list[Route]:
    """200; 400 with the reason; 401; 404 for packages; 408 when nothing came in time; 501."""
    down = _Down(gateway, take)
    token = "/api/v1/{token}"
    return [
        Route(f"{token}/attributes", down.attributes, methods=["GET"]),
        Route(f"{token}/attributes/updates", down.updates, methods=["GET"]),
        Route(f"{token}/rpc", down.commands, methods=["GET"]),
        Route(f"{token}/rpc", down.call, methods=["POST"]),
        Route(f"{token}/rpc/{{request_id}}", down.command_answer, methods=["POST"]),
        Route(f"{token}/claim", down.claim, methods=["POST"]),
        Route(f"{token}/firmware", down.no_package, methods=["GET"]),
        Route(f"{token}/software", down.no_package, methods=["GET"]),
    ]


class _Down:
    def __init__(self, gateway: Gateway, take: Take) -> None:
        self._gateway = gateway
        self._api = gateway.api
        self._take = take

    async def attributes(self, request: Request) -> Response:
        device = await self._device(request)
        if isinstance(device, Response):
            return device
        query = request.query_params
        # a name given more than once is one list
        client, shared = (",".join(query.getlist(n)) for n in ("clientKeys", "sharedKeys"))
        asked = wanted(client, shared)
        try:
            text = await self._api.attributes(device.id, asked)
        except Later as error:
            return PlainTextResponse(str(error), 503, {"Retry-After": "5"})
        return Response(text, media_type="application/json")

    async def updates(self, request: Request) -> Response:
        return await self._poll(request, Poll(attributes=True))

    async def commands(self, request: Request) -> Response:
        return await self._poll(request, Poll(commands=True))

    async def call(self, request: Request) -> Response:
        device, timeout = await self._device(request), _timeout(request)
        poll, session_id = Poll(), self._api.context.ids.next()
        if isinstance(device, Response):
            return device
        if isinstance(timeout, Response):
            return timeout

        def make(caller: Device, payload: bytes) -> list[Outgoing]:
            answer, records = self._api.call(caller, session_id, 0, payload)
            if answer is not None:
                poll.answer(0, answer)
            return records

        self._api.sessions.add(device.id, session_id, poll)
        try:
            taken = await self._take(self._gateway, request, make)
            return taken if taken.status_code != 200 else await _answer(request, poll, timeout)
        finally:
            self._api.sessions.remove(device.id, session_id, poll)

    async def command_answer(self, request: Request) -> Response:
        text = request.path_params["request_id"]
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            return PlainTextResponse("the number of a command is wanted", status_code=400)
        number = min(int(text), MAX_REQUEST_ID)

        def make(device: Device, payload: bytes) -> list[Outgoing]:
            return self._api.command_answer(device.id, number, payload)

        return await self._take(self._gateway, request, make)

    async def claim(self, request: Request) -> Response:
        device = await self._device(request)
        if isinstance(device, Response):
            return device
        log.info("device %s wishes to be claimed, which is not supported", device.name)
        return PlainTextResponse("claiming of devices is not supported", status_code=501)

    async def no_package(self, request: Request) -> Response:
        device = await self._device(request)
        if isinstance(device, Response):
            return device
        return PlainTextResponse("no package is assigned to this device", status_code=404)

    async def _poll(self, request: Request, poll: Poll) -> Response:
        device, timeout = await self._device(request), _timeout(request)
        if isinstance(device, Response):
            return device
        if isinstance(timeout, Response):
            return timeout
        session_id = self._api.context.ids.next()
        self._api.sessions.add(device.id, session_id, poll)
        try:
            if poll.wants_commands():
                self._api.wake(device.id)
            answer = await _answer(request, poll, timeout)
        except BaseException:
            self._api.desk.release(poll)
            raise
        finally:
            self._api.sessions.remove(device.id, session_id, poll)
        if poll.request_id is not None:
            return _Handing(answer, self._api, device.id, poll)
        return answer

    async def _device(self, request: Request) -> Device | Response:
        """Or why there is none."""
        try:
            device = await device_of(self._gateway, request)
        except Later as error:
            braked = isinstance(error, LookUpsBraked)
            self._api.context.metrics.rejected("http", BRAKED if braked else "store")
            return PlainTextResponse(str(error), 503, {"Retry-After": "5"})
        if device is None:
            self._api.context.metrics.rejected("http", "token")
            return Response(status_code=401)
        return device


class _Handing(Response):
    """The response that hands over a command: it is delivered when the response was sent. Where
    the client had gone it stays sent, for the device's next link."""

    def __init__(self, answer: Response, api: DeviceApi, device_id: str, poll: Poll) -> None:
        super().__init__(answer.body, answer.status_code, media_type=answer.media_type)
        self._api = api
        self._device_id = device_id
        self._poll = poll

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = self._poll.request_id
        assert request_id is not None
        handed = False
        try:
            await super().__call__(scope, receive, send)
            handed = self.status_code == 200
        finally:
            if handed:
                self._api.desk.delivered(self._device_id, request_id)
            else:
                self._api.desk.release(self._poll)
                self._api.wake(self._device_id)


async def device_of(gateway: Gateway, request: Request) -> Device | None:
    """Of the token in the path. Raises Later."""
    devices = gateway.context.devices
    login = Login(request.path_params["token"], token_only=True)
    address = request.client.host if request.client else ""
    device = devices.find(login) or await devices.look(login, address)
    if device is not None:
        gateway.api.presence.seen(device)
    return device


async def _answer(request: Request, poll: Poll, timeout: float) -> Response:
    """408 after the time-out (seconds); given up when the client leaves."""
    gone = asyncio.create_task(_gone(request))
    waits: list[asyncio.Future[None]] = [poll.answered, gone]
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        left = gone.done()
    finally:
        gone.cancel()
    if poll.answered.done() and not left:
        return Response(poll.text, media_type="application/json")
    poll.answered.cancel()
    return Response(status_code=408)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _timeout(request: Request) -> float | Response:
    """Seconds, of the parameter in ms; 0 or none: the default."""
    text = request.query_params.get("timeout", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return PlainTextResponse("timeout: milliseconds are wanted", status_code=400)
    return min(int(text) or DEFAULT_MS, LONGEST_MS) / 1000
