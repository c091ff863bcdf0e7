"""The way down over MQTT, on real sockets with a log in memory."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.kv import Scope
from edgeferry.gateway.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    Properties,
    Property,
    PubAck,
    Subscribe,
    Subscription,
    Will,
)
from edgeferry.gateway.ports import Command
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import FromServer, RawClient
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import DEVICE, OTHER, TOKEN, FixedDevices, MemoryLog
from tests.unit.gateway.links import FakeAttributes, FakeCommands

pytestmark = pytest.mark.asyncio
ME = "v1/devices/me/"
COMMAND = Command("rpc-1", "setValue", '{"v":1}')
both_versions = pytest.mark.parametrize("version", [V311, V5])


async def subscribe(client: RawClient, topic: str, qos: int = 1) -> None:
    client.send(Subscribe(1, (Subscription(topic, qos),)))
    answer = await client.receive()
    assert (answer.kind, answer.codes) == (9, bytes([qos]))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def told(packet: FromServer) -> tuple[str, object]:
    return packet.topic, json.loads(packet.payload)


@both_versions
async def test_a_device_reads_its_attributes(
    client: OpenClient, attributes: FakeAttributes, version: int
) -> None:
    attributes.values = {Scope.CLIENT: {"fw": "1.0"}, Scope.SHARED: {"limit": 5, "x": True}}
    device = await client(version)
    await subscribe(device, ME + "attributes/response/+")
    for number, asked, answer in (
        (1, {"clientKeys": "fw,none", "sharedKeys": "limit"},
         {"client": {"fw": "1.0"}, "shared": {"limit": 5}}),
        (2, {"sharedKeys": "x"}, {"shared": {"x": True}}),
        (3, {}, {"client": {"fw": "1.0"}, "shared": {"limit": 5, "x": True}}),
    ):  # fmt: skip
        device.publish(0, json.dumps(asked), f"{ME}attributes/request/{number}")
        packet = await device.receive()
        assert told(packet) == (f"{ME}attributes/response/{number}", answer)
        device.send(PubAck(packet.packet_id))


async def test_the_answer_comes_in_the_spelling_of_the_question(
    client: OpenClient, attributes: FakeAttributes
) -> None:
    device = await client()
    for topic in (ME + "attributes/response/+", "v2/a/res/+", "v2/a/res/j/+"):
        await subscribe(device, topic, 0)
    for asked, answered in (("v2/a/req/4", "v2/a/res/4"), ("v2/a/req/j/5", "v2/a/res/j/5")):
        device.publish(0, '{"sharedKeys": "a"}', asked)
        assert told(await device.receive()) == (answered, {"shared": {}})


@pytest.mark.parametrize("suffix", ["", "j/"])
async def test_commands_and_calls_in_the_short_forms(
    client: OpenClient, gateway: Gateway, log: MemoryLog, suffix: str
) -> None:
    device = await client()
    await subscribe(device, f"v2/r/req/{suffix}+", 0)
    await subscribe(device, f"v2/r/res/{suffix}+", 0)
    gateway.api.push_command(DEVICE.id, COMMAND)
    topic, _ = told(await device.receive())
    prefix, _, number = topic.rpartition("/")
    assert prefix + "/" == f"v2/r/req/{suffix}"
    device.publish(1, "true", f"v2/r/res/{suffix}{number}")
    assert await device.acknowledged(1) == [1]
    assert log.states()[-1] == ("rpc-1", "SUCCESSFUL", "true")
    device.publish(0, '{"method": "getSessionLimits"}', f"v2/r/req/{suffix}8")
    topic, limits = told(await device.receive())
    assert topic == f"v2/r/res/{suffix}8"
    assert isinstance(limits, dict)
    assert limits["maxInflightMessages"] == 512


async def test_shared_attributes_reach_those_who_subscribed(
    client: OpenClient, gateway: Gateway
) -> None:
    wanting, other = await client(client_id="a"), await client(client_id="b")
    await subscribe(wanting, ME + "attributes", 0)
    gateway.api.sessions.push_attributes(DEVICE.id, {"limit": 7}, ["old"])
    assert told(await wanting.receive()) == (ME + "attributes", {"limit": 7})
    assert told(await wanting.receive()) == (ME + "attributes", {"deleted": ["old"]})
    await other.silent()


@both_versions
async def test_a_command_goes_to_the_device_and_its_answer_comes_back(
    client: OpenClient, gateway: Gateway, log: MemoryLog, commands: FakeCommands, version: int
) -> None:
    device = await client(version)
    await subscribe(device, ME + "rpc/request/+")
    for _ in range(2):
        gateway.api.push_command(DEVICE.id, COMMAND)
    packet = await device.receive()
    prefix, _, number = packet.topic.rpartition("/")
    assert (prefix, json.loads(packet.payload)) == (
        ME + "rpc/request", {"method": "setValue", "params": {"v": 1}},
    )  # fmt: skip
    device.send(PubAck(packet.packet_id))
    device.publish(9, '{"done": true}', f"{ME}rpc/response/{number}")
    assert await device.acknowledged(1) == [9]
    assert log.states() == [
        ("rpc-1", "DELIVERED", ""), ("rpc-1", "SUCCESSFUL", '{"done":true}'),
    ]  # fmt: skip
    assert commands.claimed == ["rpc-1"]


async def test_commands_that_wait_are_sent_in_order_at_the_subscription(
    client: OpenClient, commands: FakeCommands, clock: ManualClock
) -> None:
    late = Command("late", "m", "0", expires_ms=clock.now_ms())
    commands.waiting = [Command("a", "m", "1"), late, Command("b", "m", "2")]
    device = await client()
    await subscribe(device, ME + "rpc/request/+")
    found = [json.loads((await device.receive()).payload)["params"] for _ in range(2)]
    assert found == [1, 2]
    await subscribe(device, ME + "rpc/request/+")
    await device.silent()


@both_versions
async def test_a_kept_session_gets_again_what_it_did_not_confirm(
    client: OpenClient, gateway: Gateway, commands: FakeCommands, version: int
) -> None:
    commands.waiting = [COMMAND]
    keep: Properties = {Property.SESSION_EXPIRY: 60} if version == V5 else {}
    connect = Connect(version, "c", False, 60, TOKEN, properties=keep)
    first = await client(version, token=None)
    first.send(connect)
    assert not (await first.receive()).session_present
    await subscribe(first, ME + "rpc/request/+")
    sent = await first.receive()
    await first.close()
    second = await client(version, token=None)
    second.send(connect)
    assert (await second.receive()).session_present
    assert await second.receive() == sent._replace(dup=True)
    second.send(PubAck(sent.packet_id))
    await second.silent()


async def test_a_new_session_gets_the_command_with_the_same_number(
    client: OpenClient, commands: FakeCommands
) -> None:
    commands.waiting = [COMMAND]
    first = await client()
    await subscribe(first, ME + "rpc/request/+")
    sent = await first.receive()
    second = await client()
    await subscribe(second, ME + "rpc/request/+")
    assert (await second.receive()).topic == sent.topic


async def test_a_call_goes_to_the_root_chain_and_its_answer_to_the_session(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    device, other = await client(client_id="a"), await client(client_id="b")
    for one in (device, other):
        await subscribe(one, ME + "rpc/response/+", 0)
    device.publish(3, '{"method": "getTime", "params": {}}', ME + "rpc/request/12")
    assert await device.acknowledged(1) == [3]
    (message,) = log.messages()
    assert (message.type, message.json) == (
        "TO_SERVER_RPC_REQUEST", {"method": "getTime", "params": {}},
    )  # fmt: skip
    assert message.metadata["serviceId"] == gateway.api.service_id
    assert message.metadata["requestId"] == "12"
    gateway.api.sessions.push_answer(message.metadata["sessionId"], 12, '{"time":1}')
    assert told(await device.receive()) == (ME + "rpc/response/12", {"time": 1})
    await other.silent()


async def test_the_gateway_itself_tells_its_limits(client: OpenClient, log: MemoryLog) -> None:
    device = await client()
    await subscribe(device, ME + "rpc/response/+", 0)
    device.publish(0, '{"method": "getSessionLimits", "params": {}}', ME + "rpc/request/1")
    topic, body = told(await device.receive())
    assert topic == ME + "rpc/response/1"
    assert isinstance(body, dict)
    assert body["maxPayloadSize"] == 10_000
    assert log.records == []


@both_versions
async def test_a_will_is_published_when_the_connection_drops_and_not_after_disconnect(
    client: OpenClient, log: MemoryLog, version: int
) -> None:
    for polite in (True, False):
        will = Will(ME + "attributes", b'{"polite": %s}' % str(polite).lower().encode(), 1, False)
        device = await client(version, token=None)
        device.send(Connect(version, "c", True, 60, TOKEN, will=will))
        assert (await device.receive()).codes == b"\0"
        if polite:
            device.send(Disconnect())
            assert await device.closed()
        await device.close()
    await until(lambda: len(log.messages()) > 0)
    assert [m.json for m in log.messages()] == [{"polite": False}]


async def test_devices_behind_a_gateway(
    client: OpenClient, gateway: Gateway, log: MemoryLog, attributes: FakeAttributes
) -> None:
    attributes.values = {Scope.SHARED: {"limit": 5}}
    device = await client(V5)
    for name in ("attributes", "rpc", "attributes/response"):
        await subscribe(device, f"v1/gateway/{name}", 0)
    device.publish(1, '{"device": "n1", "type": "meter"}', "v1/gateway/connect")
    device.publish(2, '{"n1": [{"t": 1}], "n2": [{"ts": 1700000000000, "values": {"t": 2}}]}',
                   "v1/gateway/telemetry")  # fmt: skip
    device.publish(3, '{"n1": {"fw": 1}}', "v1/gateway/attributes")
    assert await device.acknowledged(3) == [1, 2, 3]
    assert [(m.entity_id, m.metadata["deviceType"], m.json) for m in log.messages()] == [
        ("id-of-n1", "meter", {"t": 1}),
        ("id-of-n2", "default", {"t": 2}),
        ("id-of-n1", "meter", {"fw": 1}),
    ]
    gateway.api.sessions.push_attributes("id-of-n1", {"limit": 6}, [])
    assert told(await device.receive()) == (
        "v1/gateway/attributes", {"device": "n1", "data": {"limit": 6}},
    )  # fmt: skip
    device.publish(0, '{"id": 4, "device": "n1", "key": "limit"}', "v1/gateway/attributes/request")
    assert told(await device.receive()) == (
        "v1/gateway/attributes/response", {"id": 4, "device": "n1", "value": 5},
    )  # fmt: skip
    attributes.values[Scope.CLIENT] = {"a": 1, "b": 2}
    for wish, answer in (
        ({"client": True, "keys": ["a", "b", "c"]}, {"values": {"a": 1, "b": 2}}),
        ({"client": True, "keys": ["a"]}, {"values": {"a": 1}}),
        ({"client": False, "key": "none"}, {}),
    ):
        asked = json.dumps({"id": 4, "device": "n1"} | wish)
        device.publish(0, asked, "v1/gateway/attributes/request")
        assert told(await device.receive()) == (
            "v1/gateway/attributes/response", {"id": 4, "device": "n1"} | answer,
        )  # fmt: skip
    gateway.api.push_command("id-of-n2", COMMAND)
    _, body = told(await device.receive())
    assert isinstance(body, dict)
    assert (body["device"], body["data"]["method"]) == ("n2", "setValue")
    reply = {"device": "n2", "id": body["data"]["id"], "data": {"ok": 1}}
    device.publish(5, json.dumps(reply), "v1/gateway/rpc")
    assert await device.acknowledged(1) == [5]
    assert log.states()[-1] == ("rpc-1", "SUCCESSFUL", '{"ok":1}')
    device.publish(6, '{"device": "n1"}', "v1/gateway/disconnect")
    assert await device.acknowledged(1) == [6]
    gateway.api.sessions.push_attributes("id-of-n1", {"limit": 7}, [])
    await device.silent()


async def test_a_device_that_cannot_be_found_behind_a_gateway_is_told(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client(V5)
    device.publish(1, '{"taken": [{"t": 1}]}', "v1/gateway/telemetry")
    device.publish(2, "{}", ME + "claim")
    device.publish(3, '{"t": 1}')
    answers = [await device.receive() for _ in range(3)]
    assert [(a.packet_id, a.codes) for a in answers] == [(1, b"\x99"), (2, b"\x90"), (3, b"")]
    assert len(log.messages()) == 1


@both_versions
async def test_a_device_that_is_no_gateway_speaks_for_nobody(
    client: OpenClient, devices: FixedDevices, gateway: Gateway, log: MemoryLog, version: int
) -> None:
    device = await client(version, token=OTHER.token)
    device.publish(1, '{"n1": [{"t": 1}]}', "v1/gateway/telemetry")
    answer = await device.receive()
    assert (answer.packet_id, answer.codes) == (1, b"\x90" if version == V5 else b"")
    assert log.messages() == []
    assert len(log.dead_letters()) == (0 if version == V5 else 1)
    devices.replace(DEVICE, replace(OTHER, gateway=True))  # it becomes one while it is connected
    await gateway.check()
    device.publish(2, '{"n1": [{"t": 1}]}', "v1/gateway/telemetry")
    assert await device.acknowledged(1) == [2]
    assert len(log.messages()) == 1


async def test_devices_behind_one_connection_are_so_many_at_most(
    client: OpenClient, log: MemoryLog, gateway: Gateway
) -> None:
    gateway.api.context = replace(gateway.context, devices_per_gateway=2)
    device = await client(V5)
    device.publish(1, '{"n1": [{"t": 1}], "n2": [{"t": 1}]}', "v1/gateway/telemetry")
    device.publish(2, '{"n3": [{"t": 1}]}', "v1/gateway/telemetry")
    device.publish(3, '{"device": "n1"}', "v1/gateway/disconnect")
    device.publish(4, '{"n3": [{"t": 1}], "n2": [{"t": 2}]}', "v1/gateway/telemetry")
    answers = [await device.receive() for _ in range(4)]
    assert [(a.packet_id, a.codes) for a in answers] == [
        (1, b""), (2, b"\x99"), (3, b""), (4, b""),
    ]  # fmt: skip
    assert len(log.messages()) == 4
