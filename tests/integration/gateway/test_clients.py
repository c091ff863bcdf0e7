"""MQTT and HTTP clients that others wrote, against the gateway over the real Kafka."""

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any

import aiomqtt
import gmqtt
import httpx
import paho.mqtt.client as paho
import pytest
import uvicorn
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from starlette.applications import Starlette

from edgeferry.gateway.http import http_routes
from edgeferry.log.codec import decode_dead_letter
from tests.integration.gateway.conftest import Site

pytestmark = pytest.mark.asyncio

TELEMETRY = "v1/devices/me/telemetry"
ATTRIBUTES = "v1/devices/me/attributes"
SECONDS = 20
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
both_versions = pytest.mark.parametrize("version", [V311, V5])


class Paho:
    """paho-mqtt with what happened to it; used in a thread, as its callers do."""

    def __init__(self, version: MQTTProtocolVersion, token: str, client_id: str = "") -> None:
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version)
        self.client.username_pw_set(token)
        self.client.on_connect = self._on_connect
        self.client.on_publish = self._on_publish
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = self._on_disconnect
        self.connected: list[ReasonCode] = []
        self.published: list[tuple[int, ReasonCode]] = []
        self.subscribed: list[ReasonCode] = []
        self.disconnected: list[ReasonCode] = []
        self._changed = threading.Condition()

    def run(self, port: int) -> None:
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, SECONDS)

    def _note(self, kept: list[Any], what: Any) -> None:
        with self._changed:
            kept.append(what)
            self._changed.notify_all()

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        self._note(self.connected, code)

    def _on_publish(self, _c: Any, _u: Any, mid: int, code: ReasonCode, _p: Properties) -> None:
        self._note(self.published, (mid, code))

    def _on_subscribe(self, _c: Any, _u: Any, _m: int, codes: Any, _p: Any) -> None:
        self._note(self.subscribed, codes)

    def _on_disconnect(self, _c: Any, _u: Any, _f: Any, code: ReasonCode, _p: Any) -> None:
        self._note(self.disconnected, code)


@both_versions
async def test_paho_publishes_telemetry_and_attributes_in_order(
    site: Site, version: MQTTProtocolVersion
) -> None:
    def talk() -> list[int]:
        device = Paho(version, site.device.token, "pump")
        device.run(site.port)
        mids = [device.client.publish(TELEMETRY, f'{{"n": {n}}}', 1).mid for n in range(50)]
        mids.append(device.client.publish(ATTRIBUTES, '{"fw": "1.2.3"}', 1).mid)
        device.wait(lambda: len(device.published) == 51)
        device.stop()
        assert [mid for mid, _ in device.published] == mids
        return mids

    await asyncio.to_thread(talk)
    messages = await site.messages()
    assert [m.json["n"] for m in messages[:50]] == list(range(50))
    assert messages[50].type == "POST_ATTRIBUTES_REQUEST"
    assert {m.entity_id for m in messages} == {site.device.id}


@both_versions
async def test_paho_is_told_about_a_bad_payload_as_its_version_allows(
    site: Site, version: MQTTProtocolVersion
) -> None:
    def talk() -> list[str]:
        device = Paho(version, site.device.token)
        device.run(site.port)
        for topic, payload in ((TELEMETRY, "{"), ("other", "{}"), (TELEMETRY, '{"t": 1}')):
            device.client.publish(topic, payload, 1)
        device.wait(lambda: len(device.published) == 3)
        device.stop()
        return [str(code) for _, code in device.published]

    codes = await asyncio.to_thread(talk)
    letters = [decode_dead_letter(r.value) for r in await site.dead_letters()]
    assert [m.data for m in await site.messages()] == ['{"t":1}']
    if version == V5:
        assert codes == ["Payload format invalid", "Topic name invalid", "Success"]
        assert letters == []
    else:
        assert codes == ["Success"] * 3
        assert {(letter.topic, letter.value) for letter in letters} == {
            (TELEMETRY, b"{"),
            ("other", b"{}"),
        }


@both_versions
async def test_paho_with_an_unknown_token_is_not_authorized(
    site: Site, version: MQTTProtocolVersion
) -> None:
    def talk() -> str:
        device = Paho(version, "unknown")
        device.run(site.port)
        device.wait(lambda: len(device.connected) > 0)
        device.stop()
        return str(device.connected[0])

    assert await asyncio.to_thread(talk) == "Not authorized"


@both_versions
async def test_paho_subscribes_to_its_own_topics_only(
    site: Site, version: MQTTProtocolVersion
) -> None:
    def talk() -> list[bool]:
        device = Paho(version, site.device.token)
        device.run(site.port)
        device.wait(lambda: len(device.connected) > 0)
        device.client.subscribe([(ATTRIBUTES, 1), ("#", 1)])
        device.wait(lambda: len(device.subscribed) > 0)
        device.stop()
        codes: Any = device.subscribed[0]
        return [code.is_failure for code in codes]

    assert await asyncio.to_thread(talk) == [False, True]


async def test_paho_uses_its_own_topic_alias(site: Site) -> None:
    def talk() -> None:
        device = Paho(V5, site.device.token)
        device.run(site.port)
        device.wait(lambda: len(device.connected) > 0)
        alias = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        alias.TopicAlias = 1
        device.client.publish(TELEMETRY, '{"n": 0}', 1, properties=alias)
        device.client.publish("", '{"n": 1}', 1, properties=alias)
        device.wait(lambda: len(device.published) == 2)
        device.stop()

    await asyncio.to_thread(talk)
    assert [m.json["n"] for m in await site.messages()] == [0, 1]


async def test_a_removed_device_is_cut_off_from_the_running_gateway(site: Site) -> None:
    device = Paho(V5, site.device.token)

    def start() -> None:
        device.client.reconnect_delay_set(60, 60)
        device.run(site.port)
        device.wait(lambda: len(device.connected) > 0)

    await asyncio.to_thread(start)
    site.devices.replace()
    await asyncio.to_thread(device.wait, lambda: len(device.disconnected) > 0)
    await asyncio.to_thread(device.stop)
    assert str(device.disconnected[0]) == "Not authorized"


async def test_a_stopping_gateway_tells_an_mqtt_5_client(site: Site) -> None:
    device = Paho(V5, site.device.token)

    def start() -> None:
        device.client.reconnect_delay_set(60, 60)
        device.run(site.port)
        device.wait(lambda: len(device.connected) > 0)

    await asyncio.to_thread(start)
    await site.gateway.stop()
    await asyncio.to_thread(device.wait, lambda: len(device.disconnected) > 0)
    await asyncio.to_thread(device.stop)
    assert str(device.disconnected[0]) == "Server shutting down"


@pytest.mark.parametrize("version", [aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5])
async def test_aiomqtt_publishes_and_reconnects(
    site: Site, version: aiomqtt.ProtocolVersion
) -> None:
    for n in range(2):
        async with aiomqtt.Client(
            "127.0.0.1",
            site.port,
            username=site.device.token,
            identifier="pump",
            protocol=version,
        ) as client:
            await client.publish(TELEMETRY, json.dumps({"n": n}), 1)
    assert [m.json["n"] for m in await site.messages()] == [0, 1]


@pytest.mark.parametrize("version", [4, 5])
async def test_gmqtt_publishes(site: Site, version: int) -> None:
    client = gmqtt.Client("pump")
    client.set_auth_credentials(site.device.token, None)
    await client.connect("127.0.0.1", site.port, version=version)
    for n in range(20):
        client.publish(TELEMETRY, json.dumps({"n": n}), qos=1)
    async with asyncio.timeout(SECONDS):
        while len(found := await site.messages()) < 20:
            await asyncio.sleep(0.05)
    await client.disconnect()
    assert [m.json["n"] for m in found] == list(range(20))


async def test_http_through_a_real_server(site: Site) -> None:
    app = Starlette(routes=http_routes(site.gateway))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(SECONDS):
        while not server.started:
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    base = f"http://127.0.0.1:{port}/api/v1/{site.device.token}"
    async with httpx.AsyncClient(timeout=SECONDS) as web:
        answers = [
            await web.post(f"{base}/telemetry", content='{"t": 1}'),
            await web.post(f"{base}/attributes", content='{"fw": 2}'),
            await web.post(f"{base}/telemetry", content='{"t": '),
            await web.post(f"{base}/telemetry", content=b" " * 100_000),
            await web.post(f"http://127.0.0.1:{port}/api/v1/unknown/telemetry", content="{}"),
        ]
    server.should_exit = True
    await serving
    assert [a.status_code for a in answers] == [200, 200, 400, 413, 401]
    assert [m.data for m in await site.messages()] == ['{"t":1}', '{"fw":2}']
