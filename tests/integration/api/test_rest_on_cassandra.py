"""The Cloud's REST interface as a client sees it: over a socket, on a real Cassandra."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.api.app import build_api
from edgeferry.api.auth import open_auth
from edgeferry.api.context import ApiContext
from edgeferry.core.clock import SystemClock
from edgeferry.core.ids import DEFAULT_TENANT_ID, new_entity_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.store import Store
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.http import HttpServer
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.probes import Probes, process_app
from edgeferry.runtime.settings import (
    ApiSettings,
    CassandraSettings,
    ListenSettings,
    StoreSettings,
)
from edgeferry.store import open_store
from tests.unit.api.site import ChangesAtOnce, writing

T = 1_699_999_000_000


@pytest_asyncio.fixture
async def store(cassandra: str, keyspace: str, tmp_path: Path) -> AsyncIterator[Store]:
    settings = StoreSettings(
        kind="cassandra",
        cassandra=CassandraSettings(contact_points=(cassandra,), keyspace=keyspace),
    )
    store = open_store(settings=settings, data=tmp_path, clock=SystemClock())
    await store.start()
    yield store
    await store.stop()


@pytest_asyncio.fixture
async def client(store: Store, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Logged in over the socket with the generated password."""
    opened = open_auth(tmp_path, ApiSettings(), SystemClock(), tenant_id=DEFAULT_TENANT_ID)
    clock = SystemClock()
    writes = writing(ChangesAtOnce(store, clock), clock, tmp_path)
    rest = build_api(ApiContext(store=store, auth=opened.auth, clock=clock, writing=writes))
    metrics = Metrics(CollectorRegistry())
    app = process_app(Probes(HealthBoard().overall, metrics), rest=rest)
    server = HttpServer(app, ListenSettings(port=0))
    await server.start()
    host, port = server.address
    async with httpx.AsyncClient(base_url=f"http://{host}:{port}", timeout=30) as client:
        login = {"username": ADMIN_USERNAME, "password": opened.administrator.password}
        answer = await client.post("/api/auth/login", json=login)
        client.headers["X-Authorization"] = f"Bearer {answer.json()['token']}"
        yield client
    await server.stop()


@pytest.mark.asyncio
async def test_what_the_chain_stored_is_read_back(store: Store, client: httpx.AsyncClient) -> None:
    device = new_entity_id()
    values: dict[str, Value] = {"d": 20.5, "l": 7, "b": False, "s": "on", "j": {"a": [1]}}
    writes = [TimeseriesWrite("DEVICE", device, T + i, (T + i) * 1000, values) for i in range(3)]
    await store.timeseries.save(writes)
    await store.timeseries.save(
        [TimeseriesWrite("DEVICE", device, T + 9, (T + 9) * 1000, {"old": 1}, latest=False)]
    )
    await store.attributes.save(
        [AttributesWrite("DEVICE", device, Scope.SHARED, {"limit": 5}, T, 1)]
    )
    path = f"/api/plugins/telemetry/DEVICE/{device}"

    async def read(what: str, **params: Any) -> Any:
        answer = await client.get(path + what, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert await read("/keys/timeseries") == ["b", "d", "j", "l", "s"]
    strict = await read("/values/timeseries", useStrictDataTypes="true")
    assert strict == {key: [{"ts": T + 2, "value": value}] for key, value in values.items()}
    assert await read("/values/timeseries", keys="d,b", startTs=T, endTs=T + 2) == {
        "d": [{"ts": T + 1, "value": "20.5"}, {"ts": T, "value": "20.5"}],
        "b": [{"ts": T + 1, "value": "false"}, {"ts": T, "value": "false"}],
    }
    assert await read("/values/timeseries", keys="old", startTs=T, endTs=T + 99) == {
        "old": [{"ts": T + 9, "value": "1"}]
    }
    assert await read("/values/attributes/SHARED_SCOPE") == [
        {"lastUpdateTs": T, "key": "limit", "value": 5}
    ]


@pytest.mark.asyncio
async def test_another_devices_values_are_not_mixed_in(
    store: Store, client: httpx.AsyncClient
) -> None:
    one, other = new_entity_id(), new_entity_id()
    await store.timeseries.save([TimeseriesWrite("DEVICE", one, T, T * 1000, {"a": 1})])
    answer = await client.get(f"/api/plugins/telemetry/DEVICE/{other}/values/timeseries")
    assert answer.json() == {}


@pytest.mark.asyncio
async def test_values_are_aggregated_and_deleted(store: Store, client: httpx.AsyncClient) -> None:
    device = new_entity_id()
    await store.timeseries.save(
        [
            TimeseriesWrite("DEVICE", device, T + i * 1000, (T + i) * 1000, {"a": i, "b": i / 2})
            for i in range(10)
        ]
    )
    path = f"/api/plugins/telemetry/DEVICE/{device}"
    asked: dict[str, Any] = {"keys": "a,b", "startTs": T, "endTs": T + 10_000}

    async def sums() -> Any:
        params = {**asked, "agg": "SUM", "interval": 5000, "useStrictDataTypes": "true"}
        answer = await client.get(f"{path}/values/timeseries", params=params)
        assert answer.status_code == 200, answer.text
        return {key: [point["value"] for point in found] for key, found in answer.json().items()}

    assert await sums() == {"a": [10, 35], "b": [5.0, 17.5]}
    gone: dict[str, Any] = {
        "keys": "a",
        "startTs": T + 2000,
        "endTs": T + 90_000,
        "rewriteLatestIfDeleted": "true",
    }
    answer = await client.delete(f"{path}/timeseries/delete", params=gone)
    assert (answer.status_code, answer.text) == (200, "")
    assert await sums() == {"a": [1], "b": [5.0, 17.5]}
    latest = (await client.get(f"{path}/values/timeseries")).json()
    assert latest == {
        "a": [{"ts": T + 1000, "value": "1"}],
        "b": [{"ts": T + 9000, "value": "4.5"}],
    }
