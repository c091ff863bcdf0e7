"""The device HTTP API with a log in memory."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from edgeferry.gateway import http
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.health import Overall
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.probes import Probes, process_app
from tests.unit.gateway.fakes import TOKEN, CountedMetrics, MemoryLog

pytestmark = pytest.mark.asyncio
TELEMETRY = f"/api/v1/{TOKEN}/telemetry"
ATTRIBUTES = f"/api/v1/{TOKEN}/attributes"


@pytest_asyncio.fixture
async def web(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as found:
        yield found


async def test_telemetry_and_attributes_are_stored_and_answered_empty(
    web: httpx.AsyncClient, log: MemoryLog, metrics: CountedMetrics
) -> None:
    for path, body in ((TELEMETRY, '[{"t": 1}, {"t": 2}]'), (ATTRIBUTES, '{"fw": "1.2.3"}')):
        answer = await web.post(path, content=body)
        assert (answer.status_code, answer.content) == (200, b"")
    assert [(m.type, m.data) for m in log.messages()] == [
        ("POST_TELEMETRY_REQUEST", '{"t":1}'),
        ("POST_TELEMETRY_REQUEST", '{"t":2}'),
        ("POST_ATTRIBUTES_REQUEST", '{"fw":"1.2.3"}'),
    ]
    assert metrics.payloads == 2


async def test_200_comes_only_after_the_append(
    web: httpx.AsyncClient, gateway: Gateway, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "APPEND_SECONDS", 0.05)
    log.gate.clear()
    answer = await web.post(TELEMETRY, content='{"t": 1}')
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "not known to be stored, send it again" in answer.text
    assert log.records == []
    log.gate.set()  # it was given to the log, which may take it all the same
    await gateway.appender.drained(5)
    assert len(log.records) == 1


async def test_an_unexpected_error_is_answered_503_and_the_next_is_served(
    web: httpx.AsyncClient, log: MemoryLog
) -> None:
    log.bugs = 1
    assert (await web.post(TELEMETRY, content='{"t": 1}')).status_code == 503
    assert log.records == []
    assert (await web.post(TELEMETRY, content='{"t": 1}')).status_code == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "not JSON"),
        ("", "empty"),
        ("5", "a JSON object is wanted"),
        ('{"ts": 1700000000, "values": {"t": 1}}', "looks like seconds"),
    ],
)
async def test_a_bad_payload_is_answered_with_the_reason(
    web: httpx.AsyncClient, log: MemoryLog, body: str, reason: str
) -> None:
    answer = await web.post(TELEMETRY, content=body)
    assert answer.status_code == 400
    assert reason in answer.text
    assert log.records == []


async def test_an_unknown_token_is_answered_401_and_empty(
    web: httpx.AsyncClient, log: MemoryLog
) -> None:
    answer = await web.post("/api/v1/unknown/telemetry", content='{"t": 1}')
    assert (answer.status_code, answer.content) == (401, b"")
    assert log.records == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "FETCH"])
async def test_no_other_method_is_answered_otherwise_than_405(
    gateway: Gateway, method: str
) -> None:
    """Also where other routes stand behind these, as in a site's process."""
    probes = Probes(lambda: Overall(True, True, {}), Metrics(CollectorRegistry()))
    transport = httpx.ASGITransport(process_app(probes, device_routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as web:
        for path, allowed in ((TELEMETRY, "POST"), (ATTRIBUTES, "GET, POST")):
            if method in allowed:
                continue
            answer = await web.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert (await web.post(TELEMETRY, content='{"t": 1}')).status_code == 200


@pytest.mark.parametrize(("length", "status"), [("0" * 5_001, 400), ("9" * 5_001, 413)])
async def test_no_announced_length_is_too_long_to_be_understood(
    web: httpx.AsyncClient, length: str, status: int
) -> None:
    answer = await web.post(TELEMETRY, content=b"", headers={"Content-Length": length})
    assert answer.status_code == status


async def test_a_payload_above_the_limit_is_not_read_to_its_end(web: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1_000
            yield b" " * 1_000

    assert (await web.post(TELEMETRY, content=b" " * 10_001)).status_code == 413
    assert (await web.post(TELEMETRY, content=endless())).status_code == 413
    assert read <= 12_000


async def test_a_gateway_that_does_not_run_promises_nothing(
    web: httpx.AsyncClient, gateway: Gateway
) -> None:
    await gateway.stop()
    assert (await web.post(TELEMETRY, content='{"t": 1}')).status_code == 503


async def test_nothing_is_taken_while_too_much_waits(
    web: httpx.AsyncClient, gateway: Gateway, log: MemoryLog
) -> None:
    log.gate.clear()
    gateway.appender.put([], 1_000_000, lambda error: None)
    assert (await web.post(TELEMETRY, content='{"t": 1}')).status_code == 503
    log.gate.set()
