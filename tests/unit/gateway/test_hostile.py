"""What a client can do to a gateway with bytes: nothing but lose its own connection."""

import asyncio
import logging
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.gateway.mqtt.decoder import Decoder
from edgeferry.gateway.mqtt.packets import (
    V5,
    V311,
    Connect,
    FromClient,
    MqttError,
    Properties,
    Property,
    Publish,
    Reason,
)
from edgeferry.gateway.mqtt.session import Session, SessionRules
from edgeferry.gateway.ports import DevicePorts
from edgeferry.gateway.server import Gateway
from edgeferry.gateway.topics import LONGEST_TOPIC, SUBSCRIBABLE, published
from tests.unit.gateway.client_packets import RawClient, encode
from tests.unit.gateway.fakes import DEVICE, TOKEN, MemoryLog, make_context
from tests.unit.gateway.links import FakeAttributes, FakeCommands, FakeNested
from tests.unit.gateway.test_mqtt_codec import others, props, wills

TOPICS = (
    "v1/devices/me/telemetry", "v2/a", "v1/devices/me/attributes/request/1",
    "v1/devices/me/rpc/response/7", "v1/devices/me/rpc/request/3", "v2/fw/request/1/chunk/0",
    "v1/devices/me/claim", "v1/gateway/connect", "v1/gateway/telemetry", "v1/gateway/rpc",
    "v1/gateway/attributes/request", "v1/gateway/disconnect", "/provision/request",
)  # fmt: skip
PAYLOADS = (
    b"{}", b'{"a": 1}', b'{"device": "n1", "type": "t"}', b'{"n1": {"a": 1}}', b'{"n1": [1]}',
    b'{"device": "n1", "id": 1, "key": "k", "client": true}', b"[]", b"[[[[[[[[[[]]]]]]]]]]",
    b'{"method": "m"}', b'{"method": "getSessionLimits"}', b'{"clientKeys": 7}', b"\xff", b"",
    b'{"device": "taken"}', b'{"ts": 1e400, "values": {"a": "\\ud800"}}', b"1e999999999",
)  # fmt: skip


def packets(version: int) -> st.SearchStrategy[list[FromClient]]:
    """Of a device or a newcomer: what means something, and anything else."""
    connect = st.builds(
        Connect,
        version=st.just(version),
        client_id=st.sampled_from(["c", "", "provision"]),
        clean_start=st.booleans(),
        keep_alive=st.integers(0, 65_535),
        user_name=st.sampled_from([TOKEN, TOKEN, TOKEN, "provision", "nobody", None]),
        will=st.none() | wills(version).map(lambda w: w._replace(topic=TOPICS[0])) | wills(version),
        properties=props("connect", version),
    )
    meant = st.builds(
        Publish,
        topic=st.sampled_from(TOPICS),
        payload=st.sampled_from(PAYLOADS) | st.binary(max_size=40),
        qos=st.just(1),
        packet_id=st.integers(1, 65_535),
        properties=props("publish", version),
    )
    return st.tuples(connect, st.lists(meant | others(version), max_size=8)).map(
        lambda pair: [pair[0], *pair[1]]
    )


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Bytes as they are sent, some of them damaged."""
    version = draw(st.sampled_from([V311, V5]))
    raw = bytearray(b"".join(encode(one, version) for one in draw(packets(version))))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    cut = draw(st.integers(0, len(raw)))
    return [bytes(raw[:cut]), bytes(raw[cut:])]


async def talk(said: list[bytes]) -> None:
    """Say it, leave, and see what has become of the gateway."""
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    ports = DevicePorts(attributes=FakeAttributes(), commands=FakeCommands(), nested=FakeNested())
    gateway = Gateway(make_context(MemoryLog(), ports=ports), port=0)
    await gateway.start()
    hostile = await RawClient(gateway.address).open()
    for part in said:
        hostile.send_bytes(part)
        await asyncio.sleep(0)
    device = await RawClient(gateway.address).open()
    assert (await device.connect(TOKEN, "another")).codes == b"\0"
    device.publish(1, '{"a": 1}')
    assert await device.acknowledged(1) == [1]
    with suppress(ConnectionError):
        await hostile.close()
    await device.silent()
    await gateway.check()
    assert gateway.health().alive
    await device.close()
    await gateway.stop()
    assert faults == []


class Errors(logging.Handler):
    """Lines that only a mistake in the gateway explains."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.getMessage()} {record.exc_info}")


@settings(max_examples=150, deadline=None)
@given(conversations())
def test_whatever_a_client_says_others_are_served_and_nothing_fails(
    said: list[bytes],
) -> None:
    errors, logger = Errors(), logging.getLogger("edgeferry")
    logger.addHandler(errors)
    try:
        asyncio.run(talk(said))
    finally:
        logger.removeHandler(errors)
    assert errors.found == []


@settings(max_examples=300)
@given(st.integers(0, 0xFF), st.integers(101, 268_435_455))
def test_a_length_above_the_limit_is_refused_before_anything_of_it_is_kept(
    first: int, length: int
) -> None:
    header, rest = bytearray([first]), length
    while True:
        rest, low = divmod(rest, 128)
        header.append(low | (0x80 if rest else 0))
        if not rest:
            break
    decoder = Decoder(100)
    for byte in header[:-1]:
        decoder.feed(bytes([byte]))
        assert decoder.next() is None
    decoder.feed(bytes(header[-1:]))
    with pytest.raises(MqttError) as caught:
        decoder.next()
    assert caught.value.reason == Reason.PACKET_TOO_LARGE


def test_nothing_is_kept_of_topics_that_mean_nothing() -> None:
    decoder = Decoder(70_000)
    session = Session(
        rules=SessionRules(maximum_packet=70_000),
        authenticate=lambda _: DEVICE,
        available=lambda: True,
        new_client_id=lambda: "made-up",
    )
    decoder.feed(encode(Connect(V5, "c", True, 0, TOKEN), V5))
    connect = decoder.next()
    assert isinstance(connect, Connect)
    session.receive(connect)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(100):
        alias: Properties = {Property.TOPIC_ALIAS: 1 + number % 16}
        topic = f"{number}/" + "x" * 60_000
        decoder.feed(encode(Publish(topic, b"", properties=alias), V5))
        publish = decoder.next()
        assert isinstance(publish, Publish)
        assert published(session.admit(publish)) is None
    del publish, topic
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 200_000


def test_every_topic_of_ours_is_short_enough_to_be_remembered() -> None:
    longest = "v1/devices/me/attributes/response/" + "9" * 10
    assert max(map(len, (*TOPICS, *SUBSCRIBABLE, longest))) < LONGEST_TOPIC
