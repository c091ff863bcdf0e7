"""The listener on real sockets of this machine."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime import http_bounds
from edgeferry.runtime.http import CannotListen, HttpLimits, HttpServer, secure_context
from edgeferry.runtime.settings import HttpTlsSettings, ListenSettings
from edgeferry.runtime.tls import ensure_dev_authority

DEADLINE_SECONDS = 20.0


class App:
    """Echoes; ``/slow`` waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = asyncio.Event(), asyncio.Event()
        self.cancelled = False
        self.asgi = Starlette(
            routes=[
                Route("/echo", self.echo, methods=["GET", "POST"]),
                Route("/slow", self.slow),
            ]
        )

    async def echo(self, request: Request) -> Response:
        return Response(await request.body())

    async def slow(self, request: Request) -> Response:
        self.entered.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return PlainTextResponse("done")


@contextlib.asynccontextmanager
async def serving(app: App, limits: HttpLimits | None = None) -> AsyncIterator[HttpServer]:
    server = HttpServer(app.asgi, ListenSettings(port=0), limits=limits)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def client(server: HttpServer) -> httpx.AsyncClient:
    host, port = server.address
    return httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=DEADLINE_SECONDS)


async def spoken(server: HttpServer, sent: bytes) -> bytes:
    """What comes back until the server closes."""
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), DEADLINE_SECONDS)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.asyncio
async def test_it_serves_on_a_free_port_and_says_which() -> None:
    async with serving(App()) as server, client(server) as http:
        assert server.address[1] > 0
        answer = await http.post("/echo", content=b"hello")
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert "date" in answer.headers
        assert "server" not in answer.headers
        health = server.health()
        assert (health.alive, health.ready) == (True, True)


@pytest.mark.asyncio
async def test_it_can_be_stopped_before_it_was_started_and_twice() -> None:
    server = HttpServer(App().asgi, ListenSettings(port=0))
    assert not server.health().ready
    await server.stop()
    await server.start()
    await server.stop()
    await server.stop()
    assert not server.health().ready


@pytest.mark.asyncio
async def test_a_taken_port_is_named_with_its_setting() -> None:
    async with serving(App()) as first:
        port = first.address[1]
        second = HttpServer(App().asgi, ListenSettings(port=port), option="http")
        with pytest.raises(
            CannotListen, match=rf"port {port} on 127\.0\.0\.1 is taken.*http\.port"
        ):
            await second.start()
        await second.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
async def test_an_address_of_another_machine_is_refused(host: str) -> None:
    server = HttpServer(App().asgi, ListenSettings(host=host), option="http")
    with pytest.raises(CannotListen, match=r"http\.host"):
        await server.start()


@pytest.mark.asyncio
async def test_its_port_is_free_again_after_a_stop() -> None:
    async with serving(App()) as server, client(server) as http:
        await http.get("/echo")
        listen = ListenSettings(port=server.address[1])
    again = HttpServer(App().asgi, listen)
    await again.start()
    await again.stop()


@pytest.mark.asyncio
async def test_a_stop_lets_a_request_under_way_end() -> None:
    app = App()
    async with serving(app) as server, client(server) as http:
        asked = asyncio.create_task(http.get("/slow"))
        await app.entered.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        app.let_go.set()
        assert (await asked).text == "done"
        await stopping


@pytest.mark.asyncio
async def test_a_stop_cuts_a_request_that_does_not_end() -> None:
    app = App()
    async with serving(app, HttpLimits(stop_seconds=0.05)) as server, client(server) as http:
        asked = asyncio.create_task(http.get("/slow"))
        await app.entered.wait()
        await asyncio.wait_for(server.stop(), DEADLINE_SECONDS)
        with pytest.raises(httpx.RemoteProtocolError):
            await asked
    assert app.cancelled


@pytest.mark.asyncio
async def test_a_declared_length_may_have_any_number_of_digits() -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %s\r\n\r\nab"
    async with serving(App()) as server:
        answer = await spoken(server, head % (b"0" * 5_000 + b"2"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nab")
        assert (await spoken(server, head % (b"9" * 5_000))).startswith(b"HTTP/1.1 400 ")


@pytest.mark.asyncio
async def test_a_body_above_the_limit_is_413_whether_declared_or_not() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 256

    async with serving(App(), HttpLimits(body_bytes=1024)) as server, client(server) as http:
        assert (await http.post("/echo", content=b"x" * 1024)).status_code == 200
        answer = await http.post("/echo", content=b"x" * 1025)
        assert (answer.status_code, answer.text) == (413, "The body is larger than 1024 bytes.")
        assert (await http.post("/echo", content=pieces())).status_code == 413


@pytest.mark.asyncio
async def test_a_body_in_pieces_arrives_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with serving(App()) as server, client(server) as http:
        assert (await http.post("/echo", content=pieces())).text == "one two"


@pytest.mark.asyncio
async def test_a_large_head_is_431_whether_complete_or_not() -> None:
    async with serving(App()) as server:
        large = b"x-large: " + b"x" * 40_000
        whole = b"GET /echo HTTP/1.1\r\nhost: a\r\n" + large + b"\r\n\r\n"
        assert (await spoken(server, whole)).startswith(b"HTTP/1.1 431 ")
        endless = b"GET /echo HTTP/1.1\r\nhost: a\r\n" + large
        assert (await spoken(server, endless)).startswith(b"HTTP/1.1 431 ")


@pytest.mark.asyncio
async def test_a_head_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_bounds, "HEAD_SECONDS", 0.05)
    async with serving(App()) as server:
        assert (await spoken(server, b"GET /echo HT")).startswith(b"HTTP/1.1 408 ")
        assert (await spoken(server, b"")).startswith(b"HTTP/1.1 408 ")


@pytest.mark.asyncio
async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_bounds, "BODY_SECONDS", 0.05)
    async with serving(App()) as server:
        sent = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc"
        assert await spoken(server, sent) == b""


@pytest.mark.asyncio
async def test_a_connection_is_used_for_many_requests() -> None:
    async with serving(App()) as server:
        one = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
        last = one.replace(b"host: a\r\n", b"host: a\r\nconnection: close\r\n")
        assert (await spoken(server, one * 3 + last)).count(b"abc") == 4


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"\x16\x03\x01 not http", b"GET /echo HTTP/9.9\r\n\r\n"])
async def test_what_is_not_http_is_400(sent: bytes) -> None:
    async with serving(App()) as server:
        assert (await spoken(server, sent)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.asyncio
async def test_the_end_of_its_loop_is_noticed() -> None:
    async with serving(App()) as server:
        assert server.health().alive
        server._server.should_exit = True  # type: ignore[union-attr]

        async def noticed() -> None:
            while server.health().alive:
                await asyncio.sleep(0.01)

        await asyncio.wait_for(noticed(), DEADLINE_SECONDS)


def test_ipv6_is_an_address_too() -> None:
    if socket.has_ipv6:
        server = HttpServer(App().asgi, ListenSettings(host="::1"))
        asyncio.run(_start_and_stop(server))


async def _start_and_stop(server: HttpServer) -> None:
    await server.start()
    await server.stop()


@pytest.mark.asyncio
async def test_who_opens_connections_and_says_nothing_makes_room_for_who_asks() -> None:
    turned_away = 0

    def count() -> None:
        nonlocal turned_away
        turned_away += 1

    app = App()
    server = HttpServer(
        app.asgi,
        ListenSettings(port=0),
        limits=HttpLimits(connections=8),
        turned_away=count,
    )
    await server.start()
    silent: list[asyncio.StreamWriter] = []
    try:
        async with client(server) as http:
            slow = asyncio.create_task(http.get("/slow"))
            await app.entered.wait()
            for _ in range(50):
                silent.append((await asyncio.open_connection(*server.address))[1])
                async with client(server) as other:
                    assert (await other.post("/echo", content=b"x")).text == "x"
            assert turned_away >= 40
            app.let_go.set()
            assert (await slow).text == "done"
    finally:
        for writer in silent:
            writer.transport.abort()
        await server.stop()


@pytest.mark.asyncio
async def test_requests_under_way_make_room_for_nobody() -> None:
    app = App()
    async with serving(app, HttpLimits(connections=2)) as server, client(server) as http:
        asked = []
        for _ in range(2):
            app.entered.clear()
            asked.append(asyncio.create_task(http.get("/slow")))
            await app.entered.wait()
        async with client(server) as other:
            with pytest.raises(httpx.TransportError):
                await other.post("/echo", content=b"x")
        app.let_go.set()
        assert [(await answer).text for answer in asked] == ["done", "done"]
        async with client(server) as other:
            assert (await other.post("/echo", content=b"x")).text == "x"


@pytest.mark.asyncio
async def test_beside_the_plain_one_it_speaks_tls(tmp_path: Path) -> None:
    made = ensure_dev_authority(tmp_path, SystemClock())
    tls = HttpTlsSettings(cert=made.cert, key=made.key)
    context = secure_context(tls)
    assert context is not None
    server = HttpServer(App().asgi, ListenSettings(port=0), option="http.tls", tls=context)
    await server.start()
    try:
        host, port = server.address
        trusted = ssl.create_default_context(cafile=made.ca)
        async with httpx.AsyncClient(base_url=f"https://{host}:{port}", verify=trusted) as client:
            assert (await client.post("/echo", content=b"a" * 100_000)).content == b"a" * 100_000
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as plain:
            with pytest.raises(httpx.HTTPError):
                await plain.get("/echo")
    finally:
        await server.stop()


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    assert secure_context(HttpTlsSettings()) is None
    nothing = tmp_path / "none.pem"
    with pytest.raises(InvalidSettings, match="go together"):
        secure_context(HttpTlsSettings(cert=nothing))
    with pytest.raises(InvalidSettings, match=r"cannot be used.*http\.tls\.key"):
        secure_context(HttpTlsSettings(cert=nothing, key=nothing))
