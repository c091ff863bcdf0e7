import asyncio
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.probes import Probes, process_app
from edgeferry.runtime.service import Health
from tests.unit.runtime.services import Recorded

LOCAL, REMOTE = ("127.0.0.1", 1), ("192.0.2.7", 1)
GOOD = Health(True, True)


def client(
    app: Any, address: tuple[str, int] = LOCAL, headers: dict[str, str] | None = None
) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=address, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://site", headers=headers)


def app(health: Health = GOOD, *, started: bool = True, read_token: str = "", **parts: Any) -> Any:
    board = HealthBoard()
    board.watch([Recorded("runner", [], health=health)])
    board.started(started)
    probes = Probes(board.overall, Metrics(CollectorRegistry()), read_token)
    return process_app(probes, **parts)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("health", "started", "healthz", "readyz"),
    [
        (GOOD, True, 200, 200),
        (GOOD, False, 200, 503),
        (Health(True, False, "waits for Kafka"), True, 200, 503),
        (Health(False, False, "crashed"), True, 503, 503),
    ],
)
async def test_alive_and_ready_are_told_apart(
    health: Health, started: bool, healthz: int, readyz: int
) -> None:
    async with client(app(health, started=started)) as http:
        alive, ready = await http.get("/healthz"), await http.get("/readyz")
    assert (alive.status_code, ready.status_code) == (healthz, readyz)
    assert ready.json()["parts"] == {"runner": health._asdict()}


@pytest.mark.asyncio
async def test_reasons_are_for_this_machine_and_the_read_token_only() -> None:
    site = app(Health(True, False, "host 10.0.0.5"), read_token="the-token")
    async with client(site, REMOTE) as http:
        answer = await http.get("/readyz")
        assert answer.json()["parts"] == {"runner": {"alive": True, "ready": False}}
    async with client(site, REMOTE, {"Authorization": "Bearer the-token"}) as http:
        answer = await http.get("/readyz")
        assert answer.json()["parts"]["runner"]["detail"] == "host 10.0.0.5"


@pytest.mark.asyncio
async def test_metrics_are_for_this_machine_and_the_read_token_only() -> None:
    site = app(read_token="the-token")
    async with client(site) as http:
        answer = await http.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "process_cpu_seconds_total" in answer.text
    for address, headers in (
        (REMOTE, {}),
        (REMOTE, {"Authorization": "Bearer wrong"}),
        (REMOTE, {"Authorization": "Bearer the-tokén".encode("latin-1").decode("latin-1")}),
        (LOCAL, {"X-Forwarded-For": "192.0.2.7"}),
        (LOCAL, {"Forwarded": "for=192.0.2.7"}),
    ):
        encoded = httpx.Headers(headers, encoding="latin-1")
        async with client(site, address) as http:
            assert (await http.get("/metrics", headers=encoded)).status_code == 401
    async with client(site, REMOTE, {"Authorization": "Bearer the-token"}) as http:
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.asyncio
async def test_without_a_read_token_metrics_stay_on_this_machine() -> None:
    for given in ("Bearer ", "Bearer", "Basic Og=="):
        async with client(app(), REMOTE, {"Authorization": given}) as http:
            assert (await http.get("/metrics")).status_code == 401
    async with client(app(), ("::1", 1)) as http:
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.asyncio
async def test_device_routes_come_before_the_rest_interface() -> None:
    async def device(request: Request) -> Response:
        return PlainTextResponse(f"device {request.path_params['token']}")

    async def rest(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse(f"rest {scope['path']}")(scope, receive, send)

    site = app(device_routes=[Route("/api/v1/{token}/telemetry", device)], rest=rest)
    async with client(site) as http:
        assert (await http.get("/api/v1/abc/telemetry")).text == "device abc"
        assert (await http.get("/api/auth/user")).text == "rest /api/auth/user"
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "path", ["/", "/api/auth/user", "/healthz/x", "/docs", "/metrics/", "/a%0Ab"]
)
async def test_a_process_without_rest_refuses_all_else(path: str) -> None:
    async with client(app()) as http:
        assert (await http.get(path)).status_code == 401


@pytest.mark.asyncio
async def test_a_client_that_leaves_is_no_fault() -> None:
    async def reading(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("read")

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/read",
        "root_path": "",
        "query_string": b"",
        "headers": [],
    }
    await app(device_routes=[Route("/read", reading, methods=["POST"])])(scope, receive, send)
    assert sent[0]["status"] == 499
