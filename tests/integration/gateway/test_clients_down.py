"""Clients that others wrote, on the way down: paho, gmqtt and mosquitto, plain and over TLS."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gmqtt
import paho.mqtt.client as paho
import pytest
import pytest_asyncio
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgeferry.core.clock import SystemClock
from edgeferry.core.kv import Scope
from edgeferry.gateway.ports import Command, DevicePorts
from edgeferry.gateway.secure import secure_listener
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.tls import ensure_dev_authority
from tests.unit.gateway.fakes import DEVICE, TOKEN, MemoryLog, make_context
from tests.unit.gateway.links import FakeAttributes, FakeCommands

pytestmark = pytest.mark.asyncio
ME = "v1/devices/me/"
SECONDS = 20
V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5


@dataclass
class Bed:
    gateway: Gateway
    log: MemoryLog
    commands: FakeCommands
    ca: Path

    @property
    def port(self) -> int:
        return int(self.gateway.address.rpartition(":")[2])

    @property
    def secure_port(self) -> int:
        return int(self.gateway.secure_address.rpartition(":")[2])


@pytest_asyncio.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    clock, log, commands, attributes = SystemClock(), MemoryLog(), FakeCommands(), FakeAttributes()
    attributes.values = {Scope.CLIENT: {"fw": "1.0"}, Scope.SHARED: {"limit": 5}}
    paths = ensure_dev_authority(tmp_path, clock)
    context = make_context(
        log, clock=clock, ports=DevicePorts(attributes=attributes, commands=commands)
    )
    secure = secure_listener("127.0.0.1", 0, paths.cert, paths.key)
    gateway = Gateway(context, port=0, secure=secure)
    await gateway.start()
    yield Bed(gateway, log, commands, paths.ca)
    await gateway.stop()


class Device:
    """paho-mqtt that answers commands and keeps what came; used in a thread."""

    def __init__(self, version: MQTTProtocolVersion) -> None:
        self.ready = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, "pump", protocol=version)
        self.client.username_pw_set(TOKEN)
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.received: list[tuple[str, Any]] = []
        self._changed = threading.Condition()

    def start(self, port: int) -> None:
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(SECONDS)

    def wait(self, count: int) -> list[tuple[str, Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.received) >= count, SECONDS)
        return self.received

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _on_connect(self, client: paho.Client, *_: Any) -> None:
        topics = ("attributes", "attributes/response/+", "rpc/request/+", "rpc/response/+")
        client.subscribe([(ME + topic, 1) for topic in topics])

    def _on_message(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if "/rpc/request/" in message.topic:
            answer = message.topic.replace("request", "response")
            client.publish(answer, '{"ok": true}', 1)
        with self._changed:
            self.received.append((message.topic, json.loads(message.payload)))
            self._changed.notify_all()


async def until_done(bed: Bed, rpc_id: str) -> list[str]:
    """States of a command up to its success."""
    async with asyncio.timeout(SECONDS):
        while (rpc_id, "SUCCESSFUL", '{"ok":true}') not in bed.log.states():
            await asyncio.sleep(0.01)
    return [state for found, state, _ in bed.log.states() if found == rpc_id]


@pytest.mark.parametrize("version", [V311, V5])
@pytest.mark.parametrize("secure", [False, True])
async def test_paho_is_served_in_all_directions(
    bed: Bed, version: MQTTProtocolVersion, secure: bool
) -> None:
    device = Device(version)
    if secure:
        device.client.tls_set(str(bed.ca))
    await asyncio.to_thread(device.start, bed.secure_port if secure else bed.port)
    bed.gateway.api.sessions.push_attributes(DEVICE.id, {"limit": 6}, [])
    await asyncio.to_thread(device.wait, 1)
    ask = '{"clientKeys": "fw", "sharedKeys": "limit"}'
    device.client.publish(ME + "attributes/request/1", ask, 1)
    await asyncio.to_thread(device.wait, 2)
    device.client.publish(ME + "rpc/request/2", '{"method": "getSessionLimits"}', 1)
    await asyncio.to_thread(device.wait, 3)
    bed.gateway.api.push_command(DEVICE.id, Command("r", "set", '{"v":1}'))
    states = await until_done(bed, "r")
    found = await asyncio.to_thread(device.wait, 4)
    await asyncio.to_thread(device.stop)
    assert found[:2] == [
        (ME + "attributes", {"limit": 6}),
        (ME + "attributes/response/1", {"client": {"fw": "1.0"}, "shared": {"limit": 5}}),
    ]
    assert found[2][1]["maxInflightMessages"] == 512
    assert found[3][1] == {"method": "set", "params": {"v": 1}}
    assert states == ["DELIVERED", "SUCCESSFUL"]


@pytest.mark.parametrize("version", [4, 5])
async def test_gmqtt_answers_a_command(bed: Bed, version: int) -> None:
    client = gmqtt.Client("pump")
    client.set_auth_credentials(TOKEN, None)

    def answer(_client: Any, topic: str, _payload: bytes, _qos: int, _properties: Any) -> int:
        client.publish(topic.replace("request", "response"), '{"ok": true}', qos=1)
        return 0

    client.on_message = answer
    bed.commands.waiting = [Command("r", "set", "1")]
    await client.connect("127.0.0.1", bed.port, version=version)
    client.subscribe(ME + "rpc/request/+", qos=1)
    states = await until_done(bed, "r")
    await client.disconnect()
    assert states == ["DELIVERED", "SUCCESSFUL"]


async def mosquitto(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("version", ["311", "5"])
async def test_mosquitto_subscribes_and_publishes_with_one_token_at_once(
    bed: Bed, version: str
) -> None:
    where = ("-h", "127.0.0.1", "-p", str(bed.port), "-u", TOKEN, "-V", version, "-q", "1")
    listener = await mosquitto("mosquitto_sub", *where, "-t", ME + "attributes", "-C", "1", "-v")
    sessions = bed.gateway.api.sessions
    async with asyncio.timeout(SECONDS):
        while not sessions.attributes_wanted(DEVICE.id):
            await asyncio.sleep(0.01)
    sender = await mosquitto("mosquitto_pub", *where, "-t", ME + "telemetry", "-m", '{"t": 1}')
    assert await asyncio.wait_for(sender.wait(), SECONDS) == 0
    sessions.push_attributes(DEVICE.id, {"limit": 7}, [])
    out, _ = await asyncio.wait_for(listener.communicate(), SECONDS)
    assert out.decode().strip() == ME + 'attributes {"limit":7}'
    assert [m.data for m in bed.log.messages()] == ['{"t":1}']


async def test_mosquitto_s_will_is_published_when_it_is_killed(bed: Bed) -> None:
    listener = await mosquitto(
        "mosquitto_sub", "-h", "127.0.0.1", "-p", str(bed.port), "-u", TOKEN,
        "-t", ME + "attributes", "--will-topic", ME + "telemetry", "--will-payload", '{"gone": 1}',
    )  # fmt: skip
    async with asyncio.timeout(SECONDS):
        while not bed.gateway.api.sessions.attributes_wanted(DEVICE.id):
            await asyncio.sleep(0.01)
    listener.kill()
    await listener.communicate()
    async with asyncio.timeout(SECONDS):
        while not bed.log.messages():
            await asyncio.sleep(0.01)
    assert [m.data for m in bed.log.messages()] == ['{"gone":1}']
