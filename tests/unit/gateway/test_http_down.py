"""The way down over HTTP, with a log in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from edgeferry.core.kv import Scope
from edgeferry.gateway import http_down
from edgeferry.gateway.commands import request_id_of
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.http_down import Poll
from edgeferry.gateway.ports import Command
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.fakes import DEVICE, TOKEN, MemoryLog
from tests.unit.gateway.links import FakeAttributes, FakeCommands

pytestmark = pytest.mark.asyncio
ME = f"/api/v1/{TOKEN}"
COMMAND = Command("rpc-1", "setValue", '{"v":1}')


@pytest_asyncio.fixture
async def web(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as found:
        yield found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_device_reads_its_attributes(
    web: httpx.AsyncClient, attributes: FakeAttributes
) -> None:
    attributes.values = {Scope.CLIENT: {"fw": "1.0"}, Scope.SHARED: {"limit": 5}}
    for shared in ("sharedKeys=limit,none", "sharedKeys=none&sharedKeys=limit"):
        answer = await web.get(f"{ME}/attributes?clientKeys=fw&{shared}")
        assert (answer.status_code, answer.json()) == (
            200, {"client": {"fw": "1.0"}, "shared": {"limit": 5}},
        )  # fmt: skip


async def test_updates_come_to_a_long_poll(web: httpx.AsyncClient, gateway: Gateway) -> None:
    asking = asyncio.create_task(web.get(f"{ME}/attributes/updates?timeout=5000"))
    sessions = gateway.api.sessions
    await until(lambda: len(sessions) > 0)
    sessions.push_attributes(DEVICE.id, {"limit": 7}, ["old"])
    assert (await asking).json() == {"limit": 7, "deleted": ["old"]}
    assert len(sessions) == 0


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 60), ("?timeout=0", 60), ("?timeout=1500", 1.5), ("?timeout=300001", 300)],
)
async def test_a_long_poll_waits_as_long_as_it_is_told_within_limits(
    web: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, query: str, seconds: float
) -> None:
    waited: list[float] = []

    async def no_wait(request: Request, poll: Poll, timeout: float) -> Response:
        waited.append(timeout)
        return Response(status_code=408)

    monkeypatch.setattr(http_down, "_answer", no_wait)
    assert (await web.get(f"{ME}/rpc{query}")).status_code == 408
    assert (await web.get(f"{ME}/attributes/updates{query}")).status_code == 408
    assert waited == [seconds, seconds]


@pytest.mark.parametrize("what", ["attributes/updates", "rpc"])
async def test_a_long_poll_that_nothing_comes_to_times_out(
    web: httpx.AsyncClient, gateway: Gateway, what: str
) -> None:
    assert (await web.get(f"{ME}/{what}?timeout=20")).status_code == 408
    assert (await web.get(f"{ME}/{what}?timeout=soon")).status_code == 400
    assert len(gateway.api.sessions) == 0


async def test_a_command_is_polled_once_and_answered(
    web: httpx.AsyncClient, commands: FakeCommands, log: MemoryLog
) -> None:
    commands.waiting = [COMMAND, Command("rpc-2", "next", "null")]
    body = (await web.get(f"{ME}/rpc?timeout=5000")).json()
    assert (body["method"], body["params"]) == ("setValue", {"v": 1})
    second = (await web.get(f"{ME}/rpc?timeout=5000")).json()
    assert second["method"] == "next"
    answer = await web.post(f"{ME}/rpc/{body['id']}", content='{"ok": 1}')
    assert answer.status_code == 200
    assert [state for state in log.states() if state[0] == "rpc-1"] == [
        ("rpc-1", "DELIVERED", ""), ("rpc-1", "SUCCESSFUL", '{"ok":1}'),
    ]  # fmt: skip


@pytest.mark.parametrize("client", ["stays", "leaves before", "leaves while it is told"])
async def test_a_command_is_delivered_when_the_response_was_sent(
    gateway: Gateway, commands: FakeCommands, log: MemoryLog, client: str
) -> None:
    commands.waiting = [COMMAND]
    left, told = asyncio.Event(), list[bytes]()
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> dict[str, Any]:
        if (first := next(asked, None)) is not None:
            return first
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(0.02)
        assert log.states() == []
        if client == "leaves while it is told":
            raise OSError("the connection is gone")
        told.append(message.get("body", b""))

    async def claim(device_id: str, command: Command) -> bool:
        if client == "leaves before":
            left.set()
        return True

    commands.claim = claim  # type: ignore[method-assign]
    app = Starlette(routes=http_routes(gateway))
    path = f"{ME}/rpc"
    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
    with suppress(OSError):
        await app(scope, receive, send)
    if client == "stays":
        assert b"setValue" in told[-1]
    else:
        await asyncio.sleep(0.02)
        assert log.states() == []
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway"
        ) as web:
            again = await web.get(f"{path}?timeout=5000")
        assert again.json()["id"] == request_id_of(COMMAND.rpc_id)
    await until(lambda: log.states() == [("rpc-1", "DELIVERED", "")])
    assert len(gateway.api.sessions) == 0


async def test_a_call_waits_for_its_answer(
    web: httpx.AsyncClient, gateway: Gateway, log: MemoryLog
) -> None:
    asking = asyncio.create_task(web.post(f"{ME}/rpc", content='{"method": "getTime"}'))
    await until(lambda: len(log.messages()) > 0)
    metadata = log.messages()[0].metadata
    gateway.api.sessions.push_answer(
        metadata["sessionId"], int(metadata["requestId"]), '{"time":1}'
    )
    answer = await asking
    assert (answer.status_code, answer.json()) == (200, {"time": 1})


async def test_calls_that_fail_are_told(web: httpx.AsyncClient, gateway: Gateway) -> None:
    limits = await web.post(f"{ME}/rpc", content='{"method": "getSessionLimits"}')
    assert limits.json()["maxPayloadSize"] == 10_000
    assert (await web.post(f"{ME}/rpc", content="{}")).status_code == 400
    late = await web.post(f"{ME}/rpc?timeout=20", content='{"method": "m"}')
    assert late.status_code == 408
    assert len(gateway.api.sessions) == 0


async def test_unknown_tokens_and_what_is_not_served(web: httpx.AsyncClient) -> None:
    for path in ("attributes", "attributes/updates", "rpc", "firmware"):
        assert (await web.get(f"/api/v1/unknown/{path}")).status_code == 401
    for path in ("rpc", "rpc/1"):
        answer = await web.post(f"/api/v1/unknown/{path}", content='{"method": "m"}')
        assert answer.status_code == 401
    assert (await web.post(f"{ME}/rpc/x", content="{}")).status_code == 400
    assert (await web.post(f"{ME}/claim", content="{}")).status_code == 501
    assert (await web.post("/api/v1/unknown/claim", content="{}")).status_code == 401
    for package in ("firmware", "software"):
        assert (await web.get(f"{ME}/{package}?title=a&version=1")).status_code == 404
