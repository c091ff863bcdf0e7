"""What devices, programs and operators see of the way down."""

import asyncio
import copy
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import orjson

from tests.integration.tools.ends import running

DEADLINE = 60.0
_POLL = 0.02
ANY_PORTS = tuple(
    f"--{name}=0" for name in ("cloud-http", "cloud-mqtt", "sync", "edge-http", "edge-mqtt")
)


def up(
    data: Path, *options: str, environment: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """An Edge with one device, and its Cloud."""
    log = data.parent / f"{data.name}.err"
    words = ("up", "--data", str(data), "--devices", "1", *ANY_PORTS, *options)
    return running(log, *words, environment=environment)


class Rest:
    """One site's REST interface, logged in, and its device interface."""

    def __init__(self, ready: Mapping[str, Any], site: str, client: httpx.AsyncClient) -> None:
        self._ready = ready
        self._base = f"http://{ready[site]['http']}"
        self._client = client
        self._headers: dict[str, str] = {}
        self.device: str = ready["devices"][0]["id"]
        self.token: str = ready["devices"][0]["token"]

    async def login(self) -> "Rest":
        admin = self._ready["admin"]
        password = Path(admin["password_file"]).read_text().strip()
        login = {"username": admin["username"], "password": password}
        answer = await self._client.post(f"{self._base}/api/auth/login", json=login)
        self._headers = {"X-Authorization": f"Bearer {answer.json()['token']}"}
        return self

    def about(self, device: Mapping[str, str]) -> "Rest":
        """With the same login, about another device."""
        other = copy.copy(self)
        other.device, other.token = device["id"], device["token"]
        return other

    async def call(self, method: str, path: str, **given: Any) -> httpx.Response:
        url = f"{self._base}{path}"
        return await self._client.request(method, url, headers=self._headers, timeout=60, **given)

    async def save_attributes(self, scope: str, values: Mapping[str, Any]) -> None:
        path = f"/api/plugins/telemetry/DEVICE/{self.device}/attributes/{scope}"
        answer = await self.call("POST", path, json=values)
        assert answer.status_code == 200, answer.text

    async def attributes(self, scope: str) -> dict[str, Any]:
        path = f"/api/plugins/telemetry/DEVICE/{self.device}/values/attributes/{scope}"
        return {row["key"]: row["value"] for row in (await self.call("GET", path)).json()}

    async def until_attributes(self, scope: str, wanted: Mapping[str, Any]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not wanted.items() <= (await self.attributes(scope)).items():
                await asyncio.sleep(_POLL)

    async def until_known(self) -> None:
        """The device, with the edge it is assigned to."""
        async with asyncio.timeout(DEADLINE):
            while not await self._assigned():
                await asyncio.sleep(_POLL)

    async def edge_id(self) -> str:
        page = (await self.call("GET", "/api/edges", params={"pageSize": 1, "page": 0})).json()
        edge_id: str = page["data"][0]["id"]["id"]
        return edge_id

    async def _assigned(self) -> list[str]:
        path = f"/api/edge/{await self.edge_id()}/devices"
        page = (await self.call("GET", path, params={"pageSize": 10, "page": 0})).json()
        return [row["id"]["id"] for row in page["data"]]

    async def until_rpc(self, rpc_id: str, status: str) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            while True:
                answer = await self.call("GET", f"/api/rpc/persistent/{rpc_id}")
                shown: dict[str, Any] = answer.json()
                if shown.get("status") == status:
                    return shown
                await asyncio.sleep(_POLL)


class MqttDevice:
    """Subscribes to all that comes down, and answers every command with its params."""

    def __init__(self, ready: Mapping[str, Any], site: str = "edge") -> None:
        host, _, port = ready[site]["mqtt"].rpartition(":")
        self._client = aiomqtt.Client(
            host, int(port), username=ready["devices"][0]["token"], identifier="device"
        )
        self._reading: asyncio.Task[None] | None = None
        self.attributes: list[Any] = []
        self.commands: list[Any] = []

    async def __aenter__(self) -> "MqttDevice":
        await self._client.__aenter__()
        await self._client.subscribe("v1/devices/me/attributes", qos=1)
        await self._client.subscribe("v1/devices/me/rpc/request/+", qos=1)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.wait([self._reading])
        await self._client.__aexit__(None, None, None)

    async def publish_attributes(self, values: Mapping[str, Any]) -> None:
        await self._client.publish("v1/devices/me/attributes", orjson.dumps(values), qos=1)

    async def until_attributes(self, wanted: object) -> None:
        async with asyncio.timeout(DEADLINE):
            while wanted not in self.attributes:
                await asyncio.sleep(_POLL)

    async def _read(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            topic, body = str(message.topic), orjson.loads(message.payload)
            if topic == "v1/devices/me/attributes":
                self.attributes.append(body)
            else:
                self.commands.append(body)
                number = topic.rpartition("/")[2]
                answer = orjson.dumps({"echo": body["params"]})
                await self._client.publish(f"v1/devices/me/rpc/response/{number}", answer, qos=1)
