"""ThingsBoard's own device library, unchanged, at an Edge: up, down and what is not there."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.integration.clients.programs import program
from tests.integration.tools.down import Rest, up

ROOT = Path(__file__).parents[3]
SDK = Path(__file__).parent / "thingsboard_sdk"
TS = 1_700_000_000_000
PUMP = {
    "profile": "pump",
    "key": "k-pump",
    "secret": "s-pump-1",
    "strategy": "ALLOW_CREATE_NEW_DEVICES",
}
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Bed:
    """An Edge and its Cloud, both asked by REST."""

    def __init__(self, ready: dict[str, Any], client: httpx.AsyncClient, python: str) -> None:
        self.ready = ready
        self.python = python
        self.edge = Rest(ready, "edge", client)
        self.cloud = Rest(ready, "cloud", client)

    @property
    def mqtt(self) -> tuple[str, str]:
        host, _, port = self.ready["edge"]["mqtt"].rpartition(":")
        return host, port

    async def use(self, at: int) -> str:
        """From now on the site's device of this number: its token."""
        device = self.ready["devices"][at]
        self.edge.device = self.cloud.device = device["id"]
        await self.cloud.until_known()
        return str(device["token"])

    async def make_gateway(self) -> None:
        """Of the device in use."""
        path = f"/api/device/{self.edge.device}"
        device = (await self.edge.call("GET", path)).json()
        body = device | {"additionalInfo": {"gateway": True}}
        assert (await self.edge.call("POST", "/api/device", json=body)).is_success

    async def use_named(self, name: str) -> None:
        async with asyncio.timeout(60):
            while True:
                path = f"/api/tenant/devices?deviceName={name}"
                found = await self.cloud.call("GET", path)
                if found.status_code == 200:
                    break
                await asyncio.sleep(0.02)
        self.edge.device = self.cloud.device = found.json()["id"]["id"]

    async def until_stored(self, key: str, count: int) -> list[dict[str, Any]]:
        """In the Cloud, by their time."""
        path = f"/api/plugins/telemetry/DEVICE/{self.cloud.device}/values/timeseries"
        query = {"keys": key, "startTs": TS, "endTs": 4 * TS, "limit": 1000, "orderBy": "ASC"}
        async with asyncio.timeout(60):
            while True:
                answer = await self.cloud.call("GET", path, params=query)
                rows: list[dict[str, Any]] = answer.json().get(key, [])
                if len(rows) >= count:
                    return rows
                await asyncio.sleep(0.02)

    async def command(self, method: str, params: Any) -> Any:
        """Two-way, from the Cloud."""
        body = {"method": method, "params": params, "timeout": 30_000}
        path = f"/api/rpc/twoway/{self.cloud.device}"
        answer = await self.cloud.call("POST", path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    made = await asyncio.create_subprocess_exec(ROOT / "scripts" / "clients", "sdk")
    assert await made.wait() == 0
    python = str(ROOT / ".venv" / "clients" / "bin" / "python")
    data = tmp_path_factory.mktemp("sdk") / "data"
    file = data.parent / "provisioning.json"
    file.write_text(json.dumps({"profiles": [PUMP]}))
    shown = {"EDGEFERRY_PROVISIONING_FILE": str(file)}
    async with (
        up(data, "--devices", "3", environment=shown) as (_, ready),
        httpx.AsyncClient() as client,
    ):
        found = Bed(ready, client, python)
        await found.edge.login()
        await found.cloud.login()
        yield found


async def test_the_device_s_client(bed: Bed) -> None:
    token = await bed.use(0)
    async with program(bed.python, str(SDK / "device.py"), *bed.mqtt, token) as device:
        limits = await device.until_said("limits")
        assert limits == {"payload": 52_428, "messages": True}  # 80 % of what we announce
        assert await device.until_said("published") == [0, 0, 0, 0]
        assert len(await bed.until_stored("n", 499)) == 499
        assert await bed.until_stored("t", 1) == [{"ts": TS, "value": "20"}]
        await bed.until_stored("now", 1)
        await bed.cloud.until_attributes("CLIENT_SCOPE", {"serial": "x1", "model": {"name": "P-7"}})

        await bed.cloud.save_attributes("SHARED_SCOPE", {"limit": 5})
        assert await device.until_said("attributes") == {"limit": 5}
        device.ask(client=["serial"], shared=["limit", "none"])
        assert await device.until_said("read") == {
            "client": {"serial": "x1"},
            "shared": {"limit": 5},
        }
        path = f"/api/plugins/telemetry/DEVICE/{bed.cloud.device}/SHARED_SCOPE?keys=limit"
        await bed.cloud.call("DELETE", path)
        assert await device.until_said("attributes") == {"deleted": ["limit"]}
        assert await bed.command("setValue", {"v": [1, "ä"]}) == {"echo": {"v": [1, "ä"]}}
        device.finish()
        assert await device.until_said("connected")


async def test_the_gateway_s_client(bed: Bed) -> None:
    token = await bed.use(1)
    await bed.make_gateway()
    async with program(bed.python, str(SDK / "gateway.py"), *bed.mqtt, token) as gateway:
        assert await gateway.until_said("published") == [0] * 6
        await bed.until_stored("own", 1)
        await bed.use_named("behind-2")
        assert [row["value"] for row in await bed.until_stored("t", 3)] == ["0", "1", "2"]
        await bed.use_named("behind-1")
        assert len(await bed.until_stored("t", 1)) == 1
        await bed.cloud.until_attributes("CLIENT_SCOPE", {"serial": "b1"})
        await bed.cloud.save_attributes("SHARED_SCOPE", {"limit": 5})
        assert await gateway.until_said("attributes") == {
            "device": "behind-1",
            "data": {"limit": 5},
        }
        for client, keys, values in (
            (True, ["serial"], {"serial": "b1"}),
            (False, ["limit", "none"], {"limit": 5}),
        ):
            gateway.ask(device="behind-1", client=client, keys=keys)
            read = await gateway.until_said("read")
            assert (read["device"], read["values"]) == ("behind-1", values)
        assert await bed.command("setValue", 7) == {"echo": 7}
        gateway.finish()
        assert await gateway.until_said("connected")


async def test_the_device_s_client_over_http(bed: Bed) -> None:
    token = await bed.use(2)
    url = f"http://{bed.ready['edge']['http']}"
    script = str(SDK / "http_device.py")
    async with program(bed.python, script, url, token, *bed.mqtt) as device:
        given = await device.until_said("mqtt")
        assert (given["status"], given["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
        await bed.use_named("asked-mqtt")
        path = f"/api/device/{bed.cloud.device}/credentials"
        known = (await bed.cloud.call("GET", path)).json()["credentialsId"]
        assert known == given["credentialsValue"]
        await bed.use_named("asked-http")
        assert await bed.until_stored("t", 1) == [{"ts": TS, "value": "7"}]
        await bed.use(2)
        assert await device.until_said("connected")
        limits = await device.until_said("limits")
        assert limits["maxPayloadSize"] == 65_536
        said = await device.until(lambda line: "provision" in line)
        assert "NOT_FOUND" in said["provision"]
        assert said["firmware"] == ""  # none is assigned, so nothing is fetched
        assert await bed.until_stored("t", 1) == [{"ts": TS, "value": "20"}]
        await bed.until_stored("queued", 1)
        await bed.cloud.until_attributes("CLIENT_SCOPE", {"serial": "h1"})
        assert await bed.command("setValue", {"v": 7}) == {
            "params": {"echo": {"v": 7}},
            "method": "",
        }
        await bed.cloud.save_attributes("SHARED_SCOPE", {"limit": 5})
        assert await device.until_said("attributes") == {"limit": 5}
        device.ask()
        # its names of the two lists are none of the interface's: it gets all
        assert await device.until_said("read") == {
            "client": {"serial": "h1"},
            "shared": {"limit": 5},
        }
