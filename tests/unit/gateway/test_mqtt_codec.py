"""The MQTT codec: what one side writes the other reads; garbage is a protocol error."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.gateway.mqtt import encoder
from edgeferry.gateway.mqtt.decoder import Decoder
from edgeferry.gateway.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    V311,
    Connect,
    Disconnect,
    FromClient,
    MqttError,
    PingReq,
    Property,
    PropertyValue,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from tests.unit.gateway.client_packets import (
    BINARY,
    BYTE,
    FOUR,
    PAIRS,
    PROPERTY_TYPES,
    STRING,
    TWO,
    VARIABLE,
    decode,
    encode,
)

CONNECTED = {V311: encode(Connect(V311, "c", True, 0)), V5: encode(Connect(V5, "c", True, 0))}
ALLOWED = {
    "connect": (0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27),
    "will": (0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26),
    "publish": (0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26),
    "puback": (0x1F, 0x26),
    "subscribe": (0x0B, 0x26),
    "unsubscribe": (0x26,),
    "disconnect": (0x11, 0x1F, 0x26),
}

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
filled = texts.filter(bool)
topics = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=12
)
identifiers = st.integers(1, 65535)
of_type: dict[int, st.SearchStrategy[Any]] = {
    BYTE: st.integers(0, 1),
    TWO: st.integers(1, 65535),
    FOUR: st.integers(1, 2**32 - 1),
    VARIABLE: st.integers(1, 268_435_455),
    BINARY: st.binary(max_size=12),
    STRING: texts,
    PAIRS: st.lists(st.tuples(texts, texts), min_size=1, max_size=2),
}


def props(name: str, version: int) -> st.SearchStrategy[dict[int, PropertyValue]]:
    if version != V5:
        return st.just({})
    return st.fixed_dictionaries(
        {},
        optional={
            id_: topics if id_ == Property.RESPONSE_TOPIC else of_type[PROPERTY_TYPES[id_]]
            for id_ in ALLOWED[name]
        },
    )


def wills(version: int) -> st.SearchStrategy[Will]:
    return st.builds(
        Will,
        topic=topics,
        payload=st.binary(max_size=20),
        qos=st.integers(0, 2),
        retain=st.booleans(),
        properties=props("will", version),
    )


def connects(version: int) -> st.SearchStrategy[Connect]:
    found = st.builds(
        Connect,
        version=st.just(version),
        client_id=texts,
        clean_start=st.booleans(),
        keep_alive=st.integers(0, 65535),
        user_name=st.none() | texts,
        password=st.none() | st.binary(max_size=12),
        will=st.none() | wills(version),
        properties=props("connect", version),
    )
    if version == V5:
        return found
    return found.filter(lambda c: c.user_name is not None or c.password is None)


def others(version: int) -> st.SearchStrategy[FromClient]:
    reasons = st.integers(0, 255) if version == V5 else st.just(0)
    acks = st.sampled_from([0, 0x10, 0x80, 0x87, 0x99]) if version == V5 else st.just(0)
    filters = st.lists(filled, min_size=1, max_size=3).map(tuple)
    wishes = st.lists(st.builds(Subscription, filled, st.integers(0, 2)), min_size=1, max_size=3)
    publish = st.builds(
        Publish,
        topic=topics,
        payload=st.binary(max_size=300),
        qos=st.integers(1, 2),
        packet_id=identifiers,
        retain=st.booleans(),
        dup=st.booleans(),
        properties=props("publish", version),
    )
    return st.one_of(
        publish,
        publish.map(lambda p: p._replace(qos=0, packet_id=0, dup=False)),
        st.builds(PubAck, identifiers, acks, props("puback", version)),
        st.builds(Subscribe, identifiers, wishes.map(tuple), props("subscribe", version)),
        st.builds(Unsubscribe, identifiers, filters, props("unsubscribe", version)),
        st.just(PingReq()),
        st.builds(Disconnect, reasons, props("disconnect", version)),
    )


def conversations(version: int) -> st.SearchStrategy[list[FromClient]]:
    return st.tuples(connects(version), st.lists(others(version), max_size=5)).map(
        lambda pair: [pair[0], *pair[1]]
    )


def decoded(decoder: Decoder, chunks: list[bytes]) -> list[FromClient]:
    found: list[FromClient] = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (packet := decoder.next()) is not None:
            found.append(packet)
    return found


@given(st.sampled_from([V311, V5]).flatmap(conversations), st.lists(st.integers(1, 40)))
def test_packets_are_read_back_however_the_bytes_are_cut(
    packets: list[FromClient], cuts: list[int]
) -> None:
    first = packets[0]
    assert isinstance(first, Connect)
    data = b"".join(encode(packet, first.version) for packet in packets)
    chunks = []
    for cut in cuts:
        chunks.append(data[:cut])
        data = data[cut:]
    assert decoded(Decoder(1 << 20), [*chunks, data]) == packets


def test_a_packet_that_comes_byte_by_byte_is_read_once() -> None:
    publish = Publish("t", b"x" * 300, 1, 7)
    data = CONNECTED[V311] + encode(publish) + encode(PingReq())
    chunks = [data[i : i + 1] for i in range(len(data))]
    assert decoded(Decoder(1000), chunks)[1:] == [publish, PingReq()]


@settings(max_examples=300)
@given(st.sampled_from([b"", *CONNECTED.values()]), st.binary(max_size=60))
def test_garbage_raises_nothing_but_a_protocol_error(start: bytes, garbage: bytes) -> None:
    with suppress(MqttError):
        decoded(Decoder(100), [start + garbage])


@given(st.data())
def test_damaged_packets_raise_nothing_but_a_protocol_error(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([V311, V5]))
    packets = data.draw(conversations(version))
    raw = bytearray(b"".join(encode(packet, version) for packet in packets))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(MqttError):
        decoded(Decoder(1 << 20), [bytes(raw)])


MALFORMED = {
    "reserved bits of PINGREQ": bytes([0xC1, 0]),
    "reserved bits of SUBSCRIBE": bytes([0x80, 6, 0, 1, 0, 1, 97, 0]),
    "QoS 3": bytes([0x36, 5, 0, 1, 97, 0, 1]),
    "a repeat with QoS 0": bytes([0x38, 3, 0, 1, 97]),
    "a topic cut short": bytes([0x30, 3, 0, 9, 97]),
    "an identifier cut short": bytes([0x32, 4, 0, 1, 97, 0]),
    "a wildcard in a topic": bytes([0x30, 3, 0, 1, 35]),
    "U+0000 in a topic": bytes([0x30, 3, 0, 1, 0]),
    "a surrogate in a topic": bytes([0x30, 5, 0, 3, 0xED, 0xA0, 0x80]),
    "bytes after PINGREQ": bytes([0xC0, 1, 0]),
    "a remaining length of five bytes": bytes([0xC0, 0x80, 0x80, 0x80, 0x80, 1]),
    "reserved subscription options": bytes([0x82, 6, 0, 1, 0, 1, 97, 0xC1]),
    "a subscription to nothing": bytes([0x82, 2, 0, 1]),
    "an empty filter to unsubscribe from": bytes([0xA2, 4, 0, 1, 0, 0]),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_packets_are_refused(data: bytes) -> None:
    for connect in CONNECTED.values():
        with pytest.raises(MqttError) as caught:
            decoded(Decoder(1000), [connect + data])
        assert caught.value.reason == Reason.MALFORMED_PACKET


NOT_FROM_CLIENTS = {
    "a type of 0": bytes([0x00, 0]),
    "a server's packet": bytes([0x90, 3, 0, 1, 0]),
    "a packet of QoS 2": bytes([0x62, 2, 0, 1]),
    "AUTH": bytes([0xF0, 0]),
}


@pytest.mark.parametrize("data", NOT_FROM_CLIENTS.values(), ids=NOT_FROM_CLIENTS)
def test_packets_that_no_client_sends_are_protocol_errors(data: bytes) -> None:
    for connect in CONNECTED.values():
        with pytest.raises(MqttError) as caught:
            decoded(Decoder(1000), [connect + data])
        assert caught.value.reason == Reason.PROTOCOL_ERROR


WRONG_IN_5 = {
    "an empty filter": (bytes([0x82, 6, 0, 1, 0, 0, 0, 0]), Reason.MALFORMED_PACKET),
    "a reason that PUBACK has not": (bytes([0x40, 3, 0, 1, 0xFF]), Reason.PROTOCOL_ERROR),
    "a property of other packets": (
        bytes([0x82, 9, 0, 1, 2, 0x24, 1, 0, 1, 97, 0]),
        Reason.MALFORMED_PACKET,
    ),
    "a number of needless bytes": (
        bytes([0x82, 10, 0, 1, 3, 0x0B, 0x80, 0, 0, 1, 97, 0]),
        Reason.MALFORMED_PACKET,
    ),
    "a shared subscription without own messages": (
        bytes([0x82, 16, 0, 1, 0, 0, 10]) + b"$share/p/p" + bytes([4]),
        Reason.PROTOCOL_ERROR,
    ),
    "a wildcard in a response topic": (
        bytes([0x30, 8, 0, 1, 97, 4, 8, 0, 1, 35]),
        Reason.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize("case", WRONG_IN_5.values(), ids=WRONG_IN_5)
def test_what_mqtt_5_forbids_is_refused_with_its_reason(case: tuple[bytes, Reason]) -> None:
    data, reason = case
    with pytest.raises(MqttError) as caught:
        decoded(Decoder(1000), [CONNECTED[V5] + data])
    assert caught.value.reason == reason


def test_a_client_of_mqtt_3_1_is_taken_for_one_of_3_1_1() -> None:
    (connect,) = decoded(Decoder(1000), [b"\x10\x0f\0\6MQIsdp\x03\x02\0\x3c\0\1c"])
    assert connect == Connect(V311, "c", True, 60)


BROKEN_CONNECTS = {
    "another protocol": (b"\x10\x0c\0\4HTTP\x04\x02\0\0\0\0", Reason.MALFORMED_PACKET),
    "3.1 by the later name": (b"\x10\x0c\0\4MQTT\x03\x02\0\0\0\0", Reason.UNSUPPORTED_VERSION),
    "3.1.1 by the old name": (
        b"\x10\x0e\0\6MQIsdp\x04\x02\0\0\0\0",
        Reason.UNSUPPORTED_VERSION,
    ),
    "a will without a topic": (
        b"\x10\x10\0\4MQTT\x04\x06\0\0\0\0\0\0\0\0",
        Reason.MALFORMED_PACKET,
    ),
    "MQTT 6": (b"\x10\x0c\0\4MQTT\x06\x02\0\0\0\0", Reason.UNSUPPORTED_VERSION),
    "the reserved flag": (b"\x10\x0c\0\4MQTT\x04\x03\0\0\0\0", Reason.MALFORMED_PACKET),
    "will QoS without a will": (b"\x10\x0c\0\4MQTT\x04\x0a\0\0\0\0", Reason.MALFORMED_PACKET),
    "a password without a name": (b"\x10\x0e\0\4MQTT\x04\x42\0\0\0\0\0\0", Reason.MALFORMED_PACKET),
    "bytes at the end": (b"\x10\x0d\0\4MQTT\x04\x02\0\0\0\0\0", Reason.MALFORMED_PACKET),
    "PINGREQ first": (b"\xc0\0", Reason.PROTOCOL_ERROR),
    "PUBLISH first": (b"\x30\3\0\1a", Reason.PROTOCOL_ERROR),
    "CONNECT twice": (CONNECTED[V5] * 2, Reason.PROTOCOL_ERROR),
    "an unknown property": (b"\x10\x0f\0\4MQTT\x05\x02\0\0\2\x7f\0\0\0", Reason.MALFORMED_PACKET),
    "a property twice": (
        b"\x10\x13\0\4MQTT\x05\x02\0\0\6\x21\0\1\x21\0\1\0\0",
        Reason.PROTOCOL_ERROR,
    ),
    "a receive maximum of 0": (
        b"\x10\x10\0\4MQTT\x05\x02\0\0\3\x21\0\0\0\0",
        Reason.PROTOCOL_ERROR,
    ),
    "properties cut short": (b"\x10\x0d\0\4MQTT\x05\x02\0\0\x09\0\0", Reason.MALFORMED_PACKET),
}


@pytest.mark.parametrize("case", BROKEN_CONNECTS.values(), ids=BROKEN_CONNECTS)
def test_broken_connects_are_refused(case: tuple[bytes, Reason]) -> None:
    data, reason = case
    with pytest.raises(MqttError) as caught:
        decoded(Decoder(1000), [data])
    assert caught.value.reason == reason


def test_an_identifier_of_zero_is_a_protocol_error() -> None:
    for data in (b"\x32\5\0\1a\0\0", b"\x82\6\0\0\0\1a\0"):
        with pytest.raises(MqttError) as caught:
            decoded(Decoder(1000), [CONNECTED[V311] + data])
        assert caught.value.reason == Reason.PROTOCOL_ERROR


def test_a_packet_above_the_limit_is_refused_before_it_is_read() -> None:
    decoder = Decoder(100)
    decoded(decoder, [CONNECTED[V311]])
    decoder.feed(bytes([0x30, 99]))
    with pytest.raises(MqttError) as caught:
        decoder.next()
    assert caught.value.reason == Reason.PACKET_TOO_LARGE


def test_good_packets_before_a_bad_one_are_read_first() -> None:
    decoder = Decoder(100)
    decoder.feed(CONNECTED[V311] + encode(Publish("t", b"1")) + b"\0\0")
    assert isinstance(decoder.next(), Connect)
    assert decoder.next() == Publish("t", b"1")
    with pytest.raises(MqttError):
        decoder.next()


@given(identifiers, st.lists(st.sampled_from([0, 1, 0x87, 0x8F]), min_size=1, max_size=4), texts)
def test_answers_are_read_back_by_a_client(packet_id: int, codes: list[int], text: str) -> None:
    reason: dict[int, PropertyValue] = {0x1F: text}
    for version in (V311, V5):
        v5 = version == V5
        ack = _back(encoder.puback(version, packet_id, Reason.NOT_AUTHORIZED, reason), version)
        assert (ack.kind, ack.packet_id) == (4, packet_id)
        assert (ack.codes, ack.properties) == ((b"\x87", reason) if v5 else (b"", NO_PROPERTIES))
        granted = _back(encoder.suback(version, packet_id, codes), version)
        assert granted.packet_id == packet_id
        assert list(granted.codes) == [c if v5 else min(c, 0x80) for c in codes]
        gone = _back(encoder.unsuback(version, packet_id, codes), version)
        assert (gone.packet_id, list(gone.codes)) == (packet_id, codes if v5 else [])
        turned_away = _back(encoder.connack(version, Reason.NOT_AUTHORIZED, reason), version)
        assert turned_away.codes == (b"\x87" if v5 else b"\x05")


def test_only_an_mqtt_5_client_is_told_why_the_server_closes() -> None:
    assert encoder.disconnect(V311, Reason.SERVER_BUSY) == b""
    assert _back(encoder.disconnect(V5, Reason.SERVER_BUSY), V5).codes == b"\x89"


def _back(data: bytes, version: int) -> Any:
    size, shift, at = 0, 0, 1
    while True:
        byte = data[at]
        at += 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    assert len(data) == at + size
    return decode(data[0], data[at:], version)
