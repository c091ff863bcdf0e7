"""The session: packets in, answers out."""

from collections.abc import Callable

import pytest

from edgeferry.gateway.devices import Device
from edgeferry.gateway.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    FromClient,
    MqttError,
    PingReq,
    Properties,
    Property,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from edgeferry.gateway.mqtt.session import Session, SessionRules
from tests.unit.gateway.client_packets import FromServer, decode
from tests.unit.gateway.fakes import DEVICE, TOKEN

ATTRIBUTES, TELEMETRY = "v1/devices/me/attributes", "v1/devices/me/telemetry"
RULES = SessionRules(maximum_packet=66_560, receive_maximum=3, topic_alias_maximum=2)


def new_session(available: Callable[[], bool] = lambda: True) -> Session:
    def authenticate(packet: Connect) -> Device | None:
        return DEVICE if packet.user_name == TOKEN else None

    return Session(
        rules=RULES,
        authenticate=authenticate,
        available=available,
        new_client_id=lambda: "made-up",
    )


def connected(version: int) -> Session:
    session = new_session()
    session.receive(Connect(version, "c", True, 30, TOKEN))
    return session


def answer(session: Session, packet: FromClient) -> FromServer:
    data = session.receive(packet).data
    return back(data, session.version)


def back(data: bytes, version: int) -> FromServer:
    assert data[1] < 128 or data[2] < 128
    return decode(data[0], data[2:] if data[1] < 128 else data[3:], version)


def test_a_known_token_is_let_in() -> None:
    for version in (V311, V5):
        session = new_session()
        assert answer(session, Connect(version, "c", True, 30, TOKEN)).codes == b"\0"
        assert session.device == DEVICE
        assert (session.client_id, session.keep_alive) == ("c", 30)


def test_an_mqtt_5_client_is_told_the_limits() -> None:
    told = answer(new_session(), Connect(V5, "c", True, 30, TOKEN)).properties
    assert told == {
        Property.RECEIVE_MAXIMUM: 3,
        Property.MAXIMUM_QOS: 1,
        Property.MAXIMUM_PACKET_SIZE: 66_560,
        Property.TOPIC_ALIAS_MAXIMUM: 2,
        Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
        Property.SHARED_SUBSCRIPTION_AVAILABLE: 0,
    }


def test_a_client_that_wants_its_session_kept_for_longer_than_a_day_is_told() -> None:
    for wish, told in ((3600, None), (200_000, 86_400)):
        wanted = Connect(V5, "c", False, 30, TOKEN, properties={Property.SESSION_EXPIRY: wish})
        session = new_session()
        assert answer(session, wanted).properties.get(Property.SESSION_EXPIRY) == told
        assert session.kept.keep_seconds == (told or wish)


def test_a_client_without_a_name_gets_one() -> None:
    told = answer(new_session(), Connect(V5, "", True, 30, TOKEN)).properties
    assert told[Property.ASSIGNED_CLIENT_IDENTIFIER] == "made-up"
    assert answer(new_session(), Connect(V311, "", True, 30, TOKEN)).codes == b"\0"


@pytest.mark.parametrize("token", ["unknown", "", None])
def test_an_unknown_or_missing_token_is_turned_away(token: str | None) -> None:
    for version, code in ((V311, 5), (V5, 0x87)):
        session = new_session()
        reply = session.receive(Connect(version, "c", True, 30, token))
        assert back(reply.data, version).codes == bytes([code])
        assert reply.close
        assert session.device is None


def test_clients_are_turned_away_while_the_log_is_away() -> None:
    for version, code in ((V311, 3), (V5, 0x88)):
        session = new_session(available=lambda: False)
        reply = session.receive(Connect(version, "c", True, 30, TOKEN))
        assert (back(reply.data, version).codes, reply.close) == (bytes([code]), True)


def test_what_a_connect_may_not_ask_for() -> None:
    will = Will("t", b"", 2, False)
    refused = [
        (Connect(V311, "", False, 30, TOKEN), 2),
        (Connect(V5, "c", True, 30, TOKEN, will=will), 0x9B),
        (
            Connect(V5, "c", True, 30, TOKEN, properties={Property.AUTHENTICATION_METHOD: "x"}),
            0x8C,
        ),
        (
            Connect(V5, "c", True, 30, TOKEN, properties={Property.AUTHENTICATION_DATA: b"x"}),
            0x82,
        ),
    ]
    for packet, code in refused:
        reply = new_session().receive(packet)
        assert (back(reply.data, packet.version).codes, reply.close) == (bytes([code]), True)


def test_a_client_that_takes_small_packets_only_is_told_as_much_as_fits() -> None:
    def told(size: int, client_id: str) -> bytes:
        small: Properties = {Property.MAXIMUM_PACKET_SIZE: size}
        session = new_session()
        reply = session.receive(Connect(V5, client_id, True, 30, TOKEN, properties=small))
        assert reply.close == (session.device is None)
        return reply.data

    assert len(back(told(100, "c"), V5).properties) == 6
    assert told(20, "c") == b"\x20\x03\0\0\0"
    assert set(back(told(20, ""), V5).properties) == {Property.ASSIGNED_CLIENT_IDENTIFIER}
    assert told(4, "c") == b""


def test_a_will_is_accepted() -> None:
    will = Will("last/words", b"gone", 1, True)
    assert answer(new_session(), Connect(V311, "c", True, 30, TOKEN, will=will)).codes == b"\0"


def test_subscriptions_to_our_own_topics_are_granted_with_qos_1_at_most() -> None:
    wishes = (
        Subscription(ATTRIBUTES, 0),
        Subscription("v1/devices/me/attributes/response/+", 1),
        Subscription("v1/devices/me/rpc/request/+", 2),
        Subscription("v1/devices/me/rpc/response/+", 0),
    )
    for version in (V311, V5):
        granted = answer(connected(version), Subscribe(9, wishes))
        assert (granted.kind, granted.packet_id, granted.codes) == (9, 9, b"\0\1\1\0")


def test_subscriptions_to_other_topics_fail_one_by_one() -> None:
    filters = ("#", ATTRIBUTES, "a/#/b", "a+", "", "$share/g/" + ATTRIBUTES, TELEMETRY)
    wishes = tuple(Subscription(topic_filter, 0) for topic_filter in filters)
    told = answer(connected(V5), Subscribe(1, wishes)).codes
    assert told == bytes([0x87, 0, 0x8F, 0x8F, 0x8F, 0x9E, 0x87])
    told = answer(connected(V311), Subscribe(1, wishes)).codes
    assert told == bytes([0x80, 0, 0x80, 0x80, 0x80, 0x80, 0x80])


def test_subscription_identifiers_are_not_supported() -> None:
    wish = Subscribe(1, (Subscription(ATTRIBUTES, 0),), {Property.SUBSCRIPTION_IDENTIFIER: 7})
    with pytest.raises(MqttError) as caught:
        connected(V5).receive(wish)
    assert caught.value.reason == Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED


def test_unsubscribing_tells_whether_there_was_a_subscription() -> None:
    session = connected(V5)
    session.receive(Subscribe(1, (Subscription(ATTRIBUTES, 0),)))
    gone = answer(session, Unsubscribe(2, (ATTRIBUTES, "other")))
    assert (gone.kind, gone.packet_id, gone.codes) == (11, 2, b"\0\x11")
    assert answer(connected(V311), Unsubscribe(2, (ATTRIBUTES,))).codes == b""


def test_ping_disconnect_and_stray_acknowledgements() -> None:
    session = connected(V311)
    assert answer(session, PingReq()).kind == 13
    assert session.receive(PubAck(7)) == (b"", False)
    assert session.receive(Disconnect()) == (b"", True)


def test_qos_2_is_not_supported() -> None:
    for version in (V311, V5):
        with pytest.raises(MqttError) as caught:
            connected(version).admit(Publish(TELEMETRY, b"{}", 2, 1))
        assert caught.value.reason == Reason.QOS_NOT_SUPPORTED


def test_the_receive_maximum_counts_what_is_not_acknowledged() -> None:
    session = connected(V5)
    for packet_id in (1, 2, 3):
        session.admit(Publish(TELEMETRY, b"{}", 1, packet_id))
    session.admit(Publish(TELEMETRY, b"{}"))
    session.unacknowledged -= 1
    session.admit(Publish(TELEMETRY, b"{}", 1, 4))
    with pytest.raises(MqttError) as caught:
        session.admit(Publish(TELEMETRY, b"{}", 1, 5))
    assert caught.value.reason == Reason.RECEIVE_MAXIMUM_EXCEEDED


def test_a_topic_alias_stands_for_the_topic_it_was_given_with() -> None:
    session = connected(V5)
    alias: Properties = {Property.TOPIC_ALIAS: 2}
    assert session.admit(Publish(TELEMETRY, b"", properties=alias)) == TELEMETRY
    assert session.admit(Publish("", b"", properties=alias)) == TELEMETRY
    assert session.admit(Publish(ATTRIBUTES, b"", properties=alias)) == ATTRIBUTES
    assert session.admit(Publish("", b"", properties=alias)) == ATTRIBUTES


def test_topic_aliases_that_cannot_be_resolved() -> None:
    cases = [
        (Publish(TELEMETRY, b"", properties={Property.TOPIC_ALIAS: 0}), Reason.TOPIC_ALIAS_INVALID),
        (Publish(TELEMETRY, b"", properties={Property.TOPIC_ALIAS: 3}), Reason.TOPIC_ALIAS_INVALID),
        (Publish("", b"", properties={Property.TOPIC_ALIAS: 1}), Reason.PROTOCOL_ERROR),
        (Publish("", b""), Reason.PROTOCOL_ERROR),
    ]
    for packet, reason in cases:
        with pytest.raises(MqttError) as caught:
            connected(V5).admit(packet)
        assert caught.value.reason == reason


def test_refusals_are_told_where_the_version_and_the_qos_allow() -> None:
    publish = Publish(TELEMETRY, b"x", 1, 7)
    told = back(connected(V5).refusal(publish, Reason.PAYLOAD_FORMAT_INVALID, "why"), V5)
    assert (told.packet_id, told.codes) == (7, b"\x99")
    assert told.properties == {Property.REASON_STRING: "why"}
    assert connected(V5).refusal(Publish(TELEMETRY, b"x"), Reason.NOT_AUTHORIZED, "") == b""
    assert connected(V311).refusal(publish, Reason.NOT_AUTHORIZED, "") == b""


@pytest.mark.parametrize(
    "asked", [{Property.REQUEST_PROBLEM_INFORMATION: 0}, {Property.MAXIMUM_PACKET_SIZE: 50}]
)
def test_a_client_that_wants_no_reason_strings_gets_none(asked: dict[int, int]) -> None:
    session = new_session()
    session.receive(Connect(V5, "c", True, 30, TOKEN, properties=asked))
    refusal = session.refusal(Publish(TELEMETRY, b"x", 1, 7), Reason.NOT_AUTHORIZED, "why")
    assert back(refusal, V5) == FromServer(4, 7, b"\x87")


def test_the_last_packet_depends_on_how_far_the_client_came() -> None:
    text, reason = "the gateway is stopping", Reason.SERVER_SHUTTING_DOWN
    assert back(connected(V5).farewell(V5, reason, text), V5).codes == b"\x8b"
    assert connected(V311).farewell(V311, reason, text) == b""
    malformed = Reason.MALFORMED_PACKET
    assert back(new_session().farewell(V5, malformed, text), V5).kind == 2
    assert new_session().farewell(V311, malformed, text) == b""
    assert new_session().farewell(0, malformed, text) == b""
    assert new_session().farewell(0, Reason.UNSUPPORTED_VERSION, text) == b"\x20\2\0\1"
