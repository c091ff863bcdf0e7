"""What the field's servers have and this one does not: the answer tells, nothing is kept, and
the connection stays."""

import logging

import pytest

from edgeferry.gateway.mqtt.packets import V5, V311, Reason, Subscribe, Subscription
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import MemoryLog

pytestmark = pytest.mark.asyncio
CLAIMS = ("v1/devices/me/claim", "v1/gateway/claim", "/provision/request")


@pytest.mark.parametrize(
    ("version", "code"), [(V311, b""), (V5, bytes([Reason.TOPIC_NAME_INVALID]))]
)
async def test_claiming_and_the_wish_for_credentials_of_a_device_that_has_some(
    client: OpenClient,
    log: MemoryLog,
    caplog: pytest.LogCaptureFixture,
    version: int,
    code: bytes,
) -> None:
    caplog.set_level(logging.INFO)
    device = await client(version)
    for number, topic in enumerate(CLAIMS, 1):
        device.publish(number, '{"secretKey": "secret"}', topic)
        answer = await device.receive()
        assert (answer.packet_id, answer.codes) == (number, code)
    assert log.records == []
    assert caplog.text.count("not supported") == 1
    assert caplog.text.count("connect with the user name 'provision'") == 1
    device.publish(9, '{"a": 1}')
    assert (await device.receive()).packet_id == 9


@pytest.mark.parametrize(
    ("request_topic", "error_topic"),
    [
        ("v2/fw/request/1/chunk/0", "v2/fw/error"),
        ("v2/sw/request/1/chunk/0", "v2/sw/error"),
        ("v2/sw/request/1/chunk/0", "v2/fw/error"),
    ],
)
async def test_a_part_of_a_package_is_not_found(
    client: OpenClient, log: MemoryLog, request_topic: str, error_topic: str
) -> None:
    device = await client()
    kind = request_topic[:5]
    filters = (f"{kind}/response/+/chunk/+", error_topic)
    device.send(Subscribe(1, tuple(Subscription(topic, 0) for topic in filters)))
    assert (await device.receive()).codes == b"\0\0"
    device.publish(2, "16384", request_topic)
    answers = [await device.receive(), await device.receive()]
    (told,) = [one for one in answers if one.topic]
    assert (told.topic, told.payload) == (error_topic, b"NOT_FOUND")
    assert [one.packet_id for one in answers if not one.topic] == [2]
    device.publish(3, '{"a": 1}')
    assert (await device.receive()).packet_id == 3
    assert len(log.records) == 1


async def test_who_did_not_ask_for_errors_of_packages_gets_the_acknowledgement_alone(
    client: OpenClient,
) -> None:
    device = await client()
    device.publish(2, "", "v2/fw/request/1/chunk/0")
    assert (await device.receive()).packet_id == 2
    await device.silent()


async def test_a_retained_message_is_taken_like_any_other(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client()
    device.send_bytes(b"\x33\x23\x00\x17v1/devices/me/telemetry\x00\x07" + b'{"a": 1}')
    assert (await device.receive()).packet_id == 7
    assert [message.data for message in log.messages()] == ['{"a":1}']
