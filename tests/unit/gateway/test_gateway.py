"""The gateway with a log in memory: what is acknowledged, when, and in which order."""

import asyncio
from collections.abc import Callable

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.mqtt.packets import V5, V311, Connect, Publish, Subscribe, Subscription
from edgeferry.gateway.server import Gateway
from edgeferry.log.codec import decode_dead_letter
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import (
    DEVICE,
    OTHER,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)

pytestmark = pytest.mark.asyncio
both_versions = pytest.mark.parametrize("version", [V311, V5])
ATTRIBUTES = "v1/devices/me/attributes"


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@both_versions
async def test_a_publish_is_acknowledged_only_after_the_append(
    version: int, client: OpenClient, log: MemoryLog
) -> None:
    device = await client(version)
    log.gate.clear()
    device.publish(7, '{"t": 1}')
    await device.silent()
    assert log.records == []
    log.gate.set()
    assert await device.acknowledged(1) == [7]
    assert [m.data for m in log.messages()] == ['{"t":1}']


@both_versions
async def test_acknowledgements_come_in_the_order_of_the_publishes(
    version: int, client: OpenClient, log: MemoryLog
) -> None:
    device = await client(version)
    ids = [3, 1, 2, 9, 8]
    log.gate.clear()
    for packet_id in ids[:2]:
        device.publish(packet_id, f'{{"t": {packet_id}}}')
    await device.silent()
    for packet_id in ids[2:]:
        device.publish(packet_id, f'{{"t": {packet_id}}}')
    await device.silent()
    log.gate.set()
    assert await device.acknowledged(5) == ids
    assert [m.json["t"] for m in log.messages()] == ids
    stamps = [m.stamp for m in log.messages()]
    assert stamps == sorted(set(stamps))


async def test_what_comes_during_an_append_is_the_next_append(
    client: OpenClient, log: MemoryLog
) -> None:
    first, second = await client(client_id="a"), await client(client_id="b")
    log.gate.clear()
    first.publish(1, '{"t": 0}')
    await first.silent()
    for packet_id in range(2, 12):
        first.publish(packet_id, '{"t": 1}')
        second.publish(packet_id, '{"t": 2}')
    await first.silent()
    await second.silent()
    log.gate.set()
    assert await first.acknowledged(11) == list(range(1, 12))
    assert await second.acknowledged(10) == list(range(2, 12))
    assert log.appends == [1, 20]


async def test_the_message_of_telemetry(client: OpenClient, log: MemoryLog) -> None:
    device = await client()
    device.publish(1, '[{"ts": 1699999999000, "values": {"a": 1, "b": "2.0"}}, {"a": true}]')
    await device.acknowledged(1)
    old, new = log.messages()
    assert (old.type, old.entity_type, old.entity_id) == (
        "POST_TELEMETRY_REQUEST",
        "DEVICE",
        DEVICE.id,
    )
    assert old.metadata == {"deviceName": "pump-1", "deviceType": "pump", "ts": "1699999999000"}
    assert (old.data, new.data) == ('{"a":1,"b":2.0}', '{"a":true}')
    assert new.metadata["ts"] == str(new.ts)
    assert new.stamp >= old.stamp + 2
    assert old.id != new.id
    record = log.records[0]
    assert (record.topic, record.key) == ("edge.root", DEVICE.id.encode())
    headers = dict(record.headers)
    assert (headers["origin"], headers["type"]) == (b"edge", b"POST_TELEMETRY_REQUEST")
    version, trace, span, flags = headers["traceparent"].decode().split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")


async def test_the_message_of_attributes_names_no_scope(client: OpenClient, log: MemoryLog) -> None:
    device = await client()
    device.publish(1, '{"fw": "1.2.3", "scope": "SERVER_SCOPE"}', ATTRIBUTES)
    await device.acknowledged(1)
    (message,) = log.messages()
    assert message.type == "POST_ATTRIBUTES_REQUEST"
    assert message.metadata == {
        "deviceName": "pump-1",
        "deviceType": "pump",
        "notifyDevice": "false",
    }
    assert message.json == {"fw": "1.2.3", "scope": "SERVER_SCOPE"}


async def test_a_payload_without_values_is_acknowledged_and_leaves_nothing(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client()
    device.publish(1, '{"t": null}')
    device.publish(2, "[]")
    device.publish(3, "{}", ATTRIBUTES)
    assert await device.acknowledged(3) == [1, 2, 3]
    assert log.records == []


async def test_qos_0_is_stored_without_an_acknowledgement_even_if_the_client_leaves(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client()
    log.gate.clear()
    device.publish(0, '{"t": 1}')
    await device.silent()
    await device.close()
    log.gate.set()
    await until(lambda: len(log.records) == 1)


BAD = [
    ('{"t": ', "v1/devices/me/telemetry", 0x99, "payload"),
    ('{"ts": 1700000000, "values": {}}', "v1/devices/me/telemetry", 0x99, "payload"),
    ("[1]", ATTRIBUTES, 0x99, "payload"),
    ('{"t": 1}', "some/other/topic", 0x90, "topic"),
    ('{"t": "%s"}' % ("x" * 10_000), "v1/devices/me/telemetry", 0x99, "too_large"),
]


@pytest.mark.parametrize("case", BAD)
async def test_an_mqtt_5_client_is_told_what_was_wrong(
    case: tuple[str, str, int, str], client: OpenClient, log: MemoryLog, metrics: CountedMetrics
) -> None:
    payload, topic, code, word = case
    device = await client(V5)
    device.publish(1, '{"t": 1}')
    device.publish(2, payload, topic)
    device.publish(3, '{"t": 2}')
    good, bad, also_good = [await device.receive() for _ in range(3)]
    assert (good.packet_id, good.codes, also_good.packet_id, also_good.codes) == (1, b"", 3, b"")
    assert (bad.packet_id, bad.codes) == (2, bytes([code]))
    assert str(bad.properties[0x1F])
    assert log.dead_letters() == []
    assert len(log.messages()) == 2
    assert metrics.rejections == [word]


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_payload_of_a_3_1_1_client_becomes_a_dead_letter_and_is_acknowledged(
    case: tuple[str, str, int, str], client: OpenClient, log: MemoryLog, metrics: CountedMetrics
) -> None:
    payload, topic, _, word = case
    device = await client(V311)
    device.publish(1, '{"t": 1}')
    device.publish(2, payload, topic)
    device.publish(3, '{"t": 2}')
    assert await device.acknowledged(3) == [1, 2, 3]
    (record,) = log.dead_letters()
    letter = decode_dead_letter(record.value)
    assert (record.key, letter.key, letter.value) == (
        DEVICE.id.encode(),
        DEVICE.id.encode(),
        payload.encode(),
    )
    assert (letter.topic, letter.partition, letter.offset) == (topic, -1, -1)
    assert (letter.site, letter.node, letter.attempts) == ("edge", "gateway", 1)
    assert letter.error_text
    assert (metrics.rejections, metrics.dead) == ([word], [word])


@both_versions
async def test_a_bad_payload_of_qos_0_becomes_a_dead_letter(
    version: int, client: OpenClient, log: MemoryLog
) -> None:
    device = await client(version)
    device.publish(0, "{")
    await until(lambda: len(log.dead_letters()) == 1)


async def test_packets_above_every_limit_end_the_connection(
    client: OpenClient, log: MemoryLog
) -> None:
    new = await client(V5, client_id="a")
    new.publish(1, b"x" * 12_000)
    assert (await new.receive()).codes == b"\x95"
    assert await new.closed()
    old = await client(V311, client_id="b")
    old.publish(1, b"x" * 19_000)
    assert await old.acknowledged(1) == [1]
    old.publish(2, b"x" * 22_000)
    assert await old.closed()
    assert len(log.dead_letters()) == 1


async def test_publishes_before_a_broken_packet_are_stored(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client(V5)
    device.publish(1, '{"t": 1}')
    device.send_bytes(b"\xc1\0")
    answers = [await device.receive()]
    assert answers[0].codes == b"\x81"
    assert await device.closed()
    await until(lambda: len(log.messages()) == 1)


@both_versions
async def test_qos_2_ends_the_connection(version: int, client: OpenClient) -> None:
    device = await client(version)
    device.send(Publish("v1/devices/me/telemetry", b"{}", 2, 1))
    if version == V5:
        assert (await device.receive()).codes == b"\x9b"
    assert await device.closed()


async def test_unknown_tokens_are_turned_away(client: OpenClient, metrics: CountedMetrics) -> None:
    for version, code in ((V311, b"\5"), (V5, b"\x87")):
        stranger = await client(version, token=None)
        assert (await stranger.connect("unknown")).codes == code
        assert await stranger.closed()
    assert metrics.rejections == ["connect", "connect"]
    await until(lambda: metrics.open == 0)


async def test_a_version_that_we_do_not_speak_is_told_so(client: OpenClient) -> None:
    for level, version, code in ((3, V311, b"\1"), (6, V5, b"\x84")):
        device = await client(version, token=None)
        device.send_bytes(b"\x10\x0c\0\4MQTT" + bytes([level]) + b"\x02\0\0\0\0")
        assert (await device.receive()).codes == code
        assert await device.closed()


async def test_a_session_is_taken_over_by_the_same_client_of_the_same_device(
    client: OpenClient,
) -> None:
    first = await client(V5, client_id="c")
    of_another_device = await client(V5, client_id="c", token=OTHER.token)
    second = await client(V5, client_id="c")
    assert (await first.receive()).codes == b"\x8e"
    assert await first.closed()
    await second.silent()
    await of_another_device.silent()


async def test_a_reconnected_client_sends_again_and_is_acknowledged(
    client: OpenClient, log: MemoryLog
) -> None:
    first = await client()
    log.gate.clear()
    first.publish(1, '{"ts": 1700000000000, "values": {"t": 1}}')
    await first.silent()
    await first.close()
    second = await client()
    second.publish(1, '{"ts": 1700000000000, "values": {"t": 1}}')
    await second.silent()
    log.gate.set()
    assert await second.acknowledged(1) == [1]
    assert [m.data_ts for m in log.messages()] == [1700000000000] * 2


async def test_silent_clients_are_ended_after_one_and_a_half_keep_alives(
    client: OpenClient, gateway: Gateway, clock: ManualClock
) -> None:
    device = await client(V5, token=None)
    await device.connect(TOKEN, keep_alive=10)
    clock.advance(14)
    await gateway.check()
    await device.silent()
    clock.advance(14)
    await gateway.check()
    await device.silent()
    clock.advance(16)
    await gateway.check()
    assert (await device.receive()).codes == b"\x8d"
    assert await device.closed()


async def test_a_connection_without_connect_is_closed(
    client: OpenClient, gateway: Gateway, clock: ManualClock, metrics: CountedMetrics
) -> None:
    device = await client(token=None)
    await until(lambda: metrics.open == 1)
    clock.advance(11)
    await gateway.check()
    assert await device.closed()


async def test_the_session_of_a_removed_token_is_ended(
    client: OpenClient, gateway: Gateway, devices: FixedDevices
) -> None:
    device, other = await client(V5), await client(V5, token=OTHER.token)
    devices.replace(OTHER)
    await gateway.check()
    assert (await device.receive()).codes == b"\x87"
    assert await device.closed()
    await other.silent()


async def test_a_taken_port_is_told_with_what_to_do(gateway: Gateway, log: MemoryLog) -> None:
    port = int(gateway.address.rpartition(":")[2])
    second = Gateway(make_context(log), port=port)
    with pytest.raises(InvalidSettings, match=f"127.0.0.1:{port}: the port is taken.*mqtt.port"):
        await second.start()
    await second.stop()


async def test_subscriptions_are_answered_through_the_wire(client: OpenClient) -> None:
    device = await client(V5)
    device.send(Subscribe(4, (Subscription(ATTRIBUTES, 1), Subscription("#", 0))))
    granted = await device.receive()
    assert (granted.kind, granted.packet_id, granted.codes) == (9, 4, b"\1\x87")


async def test_a_clean_disconnect_closes(client: OpenClient, metrics: CountedMetrics) -> None:
    device = await client()
    device.send_bytes(b"\xe0\0")
    assert await device.closed()
    await until(lambda: metrics.open == 0)
    assert metrics.rejections == []


async def test_publishes_sent_right_behind_connect_are_taken(
    client: OpenClient, log: MemoryLog
) -> None:
    device: RawClient = await client(token=None)
    publish = Publish("v1/devices/me/telemetry", b'{"t": 1}', 1, 1)
    device.send(Connect(V311, "c", True, 60, TOKEN), publish)
    assert (await device.receive()).kind == 2
    assert await device.acknowledged(1) == [1]
