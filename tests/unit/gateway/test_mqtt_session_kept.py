"""The session: subscriptions, what outlives a connection, wills."""

import pytest

from edgeferry.gateway.devices import Device
from edgeferry.gateway.mqtt.kept import (
    MOST_KEPT,
    MOST_WILL_BYTES,
    Kept,
    KeptSessions,
    LastWill,
)
from edgeferry.gateway.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    MqttError,
    Properties,
    Property,
    PubAck,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from edgeferry.gateway.mqtt.session import Session, SessionRules
from edgeferry.gateway.topics import What
from tests.unit.gateway.fakes import DEVICE, TOKEN

WILL = Will("v1/devices/me/telemetry", b"{}", 1, False)


class Bed:
    """A session over the kept ones of its gateway."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = kept
        self.asked: list[tuple[str, str, bool]] = []

    def session(self, packet: Connect) -> Session:
        def authenticate(packet: Connect) -> Device | None:
            return DEVICE

        def resume(device_id: str, client_id: str, clean: bool) -> Kept | None:
            self.asked.append((device_id, client_id, clean))
            return self.kept

        found = Session(
            rules=SessionRules(maximum_packet=66_560),
            authenticate=authenticate,
            available=lambda: True,
            new_client_id=lambda: "made-up",
            resume=resume,
        )
        found.receive(packet)
        return found


def subscribe(session: Session, topic: str, qos: int = 1) -> bytes:
    return session.receive(Subscribe(1, (Subscription(topic, qos),))).data


def test_a_subscription_says_where_things_go_until_it_is_taken_back() -> None:
    session = Bed().session(Connect(V311, "c", True, 30, TOKEN))
    assert session.target(What.COMMAND) is None
    subscribe(session, "v2/r/req/+")
    subscribe(session, "v1/devices/me/rpc/request/+", 0)
    assert session.target(What.COMMAND) == ("v2/r/req/", 1)
    session.receive(Unsubscribe(2, ("v2/r/req/+",)))
    assert session.target(What.COMMAND) == ("v1/devices/me/rpc/request/", 0)


@pytest.mark.parametrize("topic", ["#", "v1/devices/me/telemetry", "v2/a/p", "v1/devices/+/rpc"])
def test_other_filters_are_refused(topic: str) -> None:
    session = Bed().session(Connect(V311, "c", True, 30, TOKEN))
    assert subscribe(session, topic)[-1] == 0x80
    assert session.kept.subscriptions == {}


def test_a_resumed_session_has_its_subscriptions_and_repeats_what_was_not_confirmed() -> None:
    kept = Kept({"v2/a": 1})
    kept.outbox.connect(V311, 10, 0)
    kept.outbox.send("v2/a", b"{}", 1)
    kept.outbox.disconnect()
    bed = Bed(kept)
    session = bed.session(Connect(V311, "c", False, 30, TOKEN))
    assert bed.asked == [(DEVICE.id, "c", False)]
    assert session.target(What.ATTRIBUTES) == ("v2/a", 1)
    session.receive(PubAck(1))
    assert len(kept.outbox) == 0


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        (Connect(V311, "c", True, 30, TOKEN), 0),
        (Connect(V311, "c", False, 30, TOKEN), 86_400),
        (Connect(V5, "c", False, 30, TOKEN), 0),
        (Connect(V5, "c", True, 30, TOKEN, properties={Property.SESSION_EXPIRY: 9}), 9),
    ],
)
def test_how_long_a_session_is_kept(packet: Connect, seconds: int) -> None:
    assert Bed().session(packet).kept.keep_seconds == seconds


def test_disconnect_may_shorten_a_session_and_not_revive_one() -> None:
    for expiry, wish in ((9, 0), (0, 9)):
        properties: Properties = {Property.SESSION_EXPIRY: expiry}
        session = Bed().session(Connect(V5, "c", True, 30, TOKEN, properties=properties))
        goodbye = Disconnect(properties={Property.SESSION_EXPIRY: wish})
        if expiry:
            assert session.receive(goodbye).close
            assert session.kept.keep_seconds == wish
        else:
            with pytest.raises(MqttError, match="cannot become longer"):
                session.receive(goodbye)


@pytest.mark.parametrize(("reason", "stays"), [(0, False), (4, True)])
def test_a_will_goes_with_a_disconnect_that_does_not_ask_for_it(reason: int, stays: bool) -> None:
    session = Bed().session(Connect(V5, "c", True, 30, TOKEN, will=WILL))
    will = LastWill(DEVICE, WILL.topic, WILL.payload)
    assert session.kept.will == will
    session.receive(Disconnect(reason))
    assert session.kept.will == (will if stays else None)


def test_kept_sessions_end_with_their_time_and_their_number() -> None:
    sessions, kept = KeptSessions(), Kept(keep_seconds=10)
    assert sessions.keep("d", "c", kept, 100) == []
    assert sessions.expire(109) == []
    assert sessions.take("d", "c", 109) == (kept, [])
    assert sessions.take("d", "c", 109) == (None, [])
    for now, clean in ((109, True), (110, False)):
        sessions.keep("d", "c", kept, 100)
        assert sessions.take("d", "c", now, clean=clean) == (None, [kept])
    sessions.keep("d", "c", kept, 100)
    assert sessions.expire(110) == [kept]
    at_once = Kept()
    assert sessions.keep("d", "c", at_once, 0) == [at_once]
    for n in range(MOST_KEPT):
        sessions.keep("d", str(n), Kept(keep_seconds=10), 0)
    assert len(sessions.keep("d", "more", Kept(keep_seconds=10), 0)) == 1


def kept_with_will(delay: int, size: int = 2) -> Kept:
    return Kept(keep_seconds=60, will=LastWill(DEVICE, WILL.topic, b"x" * size, delay))


def test_a_will_waits_for_its_delay_and_goes_once() -> None:
    sessions, kept = KeptSessions(), kept_with_will(10)
    will = kept.will
    sessions.keep("d", "c", kept, 100)
    assert sessions.due(109) == []
    assert sessions.due(110) == [will]
    assert sessions.due(110) == []
    assert sessions.take("d", "c", 120) == (kept, [])


def test_a_will_is_not_due_when_its_client_is_back() -> None:
    sessions, kept = KeptSessions(), kept_with_will(10)
    sessions.keep("d", "c", kept, 100)
    sessions.take("d", "c", 105)
    assert kept.will is None
    sessions.keep("d", "c", kept, 106)
    assert sessions.due(150) == []


def test_wills_that_are_too_large_together_go_before_their_time_the_oldest_first() -> None:
    sessions = KeptSessions()
    size = MOST_WILL_BYTES // 4
    kept = [kept_with_will(50, size) for _ in range(6)]
    wills = [one.will for one in kept]
    for number, one in enumerate(kept):
        sessions.keep("d", str(number), one, 100)
    assert sessions.due(101) == wills[:2]
    assert sessions.due(101) == []
    assert sessions.end_all() == kept
    assert sessions.expire(10**9) == []
