"""One client's session: packets in, answers out. No I/O and no clock.

What outlives the connection (subscriptions, publishes without PUBACK, the will) stands in
``Kept``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.gateway.devices import Device
from edgeferry.gateway.mqtt.encoder import (
    PINGRESP,
    connack,
    disconnect,
    puback,
    suback,
    unsuback,
)
from edgeferry.gateway.mqtt.kept import LONGEST_SECONDS, Kept, LastWill
from edgeferry.gateway.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    V311,
    Connect,
    Disconnect,
    FromClient,
    MqttError,
    PingReq,
    Properties,
    Property,
    PropertyValue,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)
from edgeferry.gateway.topics import FOR_NEWCOMERS, LONGEST_TOPIC, SUBSCRIBABLE, What

_REASON_LENGTH: Final = 200
_SMALL_PACKET: Final = 1024
"""A client that takes no packets of this size gets no reason strings."""
_DISCONNECT_WITH_WILL: Final = 0x04
_FIRST_FAILURE: Final = 0x80
_ANY_RECEIVE_MAXIMUM: Final = 65_535


@dataclass(frozen=True, slots=True)
class SessionRules:
    """What is announced to a client. Bytes for packets, numbers of publishes else."""

    maximum_packet: int
    receive_maximum: int = 512
    topic_alias_maximum: int = 16


class Reply(NamedTuple):
    data: bytes
    close: bool = False


class Session:
    """``authenticate`` finds the device of a client; ``available`` says whether new
    clients can be served now; ``new_client_id`` names clients that gave no name; ``resume``
    gives what is kept of a device's client (device id, client id), or ends it for a clean
    start (true) and gives None."""

    def __init__(
        self,
        *,
        rules: SessionRules,
        authenticate: Callable[[Connect], Device | None],
        available: Callable[[], bool],
        new_client_id: Callable[[], str],
        resume: Callable[[str, str, bool], Kept | None] = lambda *_: None,
    ) -> None:
        self._rules = rules
        self._authenticate = authenticate
        self._available = available
        self._new_client_id = new_client_id
        self._aliases: dict[int, str] = {}
        self._resume = resume
        self._reasons = True
        self._short_packets = False
        self._connected = False
        self._subscribable = SUBSCRIBABLE
        self.device: Device | None = None
        """Set once the client is connected, but of a newcomer."""
        self.client_id = ""
        self.version = 0
        self.keep_alive = 0
        self.kept = Kept()
        self.unacknowledged = 0
        """Publishes of QoS 1 that were admitted and not yet acknowledged."""

    @property
    def is_newcomer(self) -> bool:
        """The client asks for credentials and may do nothing else."""
        return self._subscribable is FOR_NEWCOMERS

    def expect_newcomer(self) -> None:
        """Before CONNECT is received."""
        self._subscribable = FOR_NEWCOMERS

    def receive(self, packet: FromClient) -> Reply:
        """The answer to any packet but PUBLISH. Raises MqttError."""
        match packet:
            case PingReq():
                return Reply(PINGRESP)
            case Connect():
                return self._connect(packet)
            case Subscribe():
                return Reply(self._subscribe(packet))
            case Unsubscribe():
                return Reply(self._unsubscribe(packet))
            case Disconnect():
                return self._disconnect(packet)
            case PubAck():
                done = packet.reason < _FIRST_FAILURE
                return Reply(self.kept.outbox.acknowledge(packet.packet_id, success=done))
            case Publish():
                raise AssertionError("PUBLISH is admitted, not received")

    def admit(self, packet: Publish) -> str:
        """Count a publish; the answer is its topic, with aliases resolved. Raises MqttError."""
        if packet.qos:
            if packet.qos == 2:
                raise MqttError(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not supported: use QoS 1")
            self.unacknowledged += 1
            if self.version == V5 and self.unacknowledged > self._rules.receive_maximum:
                raise MqttError(
                    Reason.RECEIVE_MAXIMUM_EXCEEDED,
                    f"more than {self._rules.receive_maximum} publishes without PUBACK",
                )
        if packet.properties:
            return self._resolved(packet)
        if not packet.topic:
            raise MqttError(Reason.PROTOCOL_ERROR, "neither a topic nor an alias")
        return packet.topic

    def acknowledgement(self, packet: Publish) -> bytes:
        """PUBACK, or nothing for QoS 0."""
        return puback(self.version, packet.packet_id) if packet.qos else b""

    def can_tell(self, packet: Publish) -> bool:
        """Whether a refusal of this publish can reach its sender."""
        return self.version == V5 and packet.qos > 0

    def refusal(self, packet: Publish, reason: Reason, text: str) -> bytes:
        """PUBACK with a reason, or nothing when this client cannot be told (3.1.1, QoS 0)."""
        if not self.can_tell(packet):
            return b""
        properties = self._reason(text) if self._reasons else NO_PROPERTIES
        return puback(self.version, packet.packet_id, reason, properties)

    def target(self, what: What, prefix: str = "") -> tuple[str, int] | None:
        """Where the client wants this, and the QoS it was granted; None when it does not.

        The topic ends with "/" where an identifier is to follow. prefix: the spelling of the
        client's question."""
        granted = self.kept.subscriptions
        if prefix and prefix + "+" in granted:
            return prefix, granted[prefix + "+"]
        for topic_filter, qos in granted.items():
            if self._subscribable[topic_filter] is what:
                return topic_filter.removesuffix("+"), qos
        return None

    def farewell(self, version: int, reason: Reason, text: str) -> bytes:
        """The last packet to this client, if its version (0: not known) has one for this."""
        if self._connected:
            return disconnect(version, reason, self._reason(text))
        if reason == Reason.UNSUPPORTED_VERSION:
            return connack(version or V311, reason)
        refused = reason in (Reason.SERVER_UNAVAILABLE, Reason.NOT_AUTHORIZED)
        if version == V5 or (version and refused):
            return connack(version, reason, self._reason(text))
        return b""

    def _connect(self, packet: Connect) -> Reply:
        self.version = packet.version
        properties = packet.properties
        self._reasons = properties.get(Property.REQUEST_PROBLEM_INFORMATION, 1) == 1
        size = properties.get(Property.MAXIMUM_PACKET_SIZE, _SMALL_PACKET)
        self._short_packets = isinstance(size, int) and size < _SMALL_PACKET
        if Property.AUTHENTICATION_METHOD in properties:
            return self._turned_away(Reason.BAD_AUTHENTICATION_METHOD, "use an access token")
        if Property.AUTHENTICATION_DATA in properties:
            return self._turned_away(Reason.PROTOCOL_ERROR, "authentication data without a method")
        if not packet.client_id and packet.version == V311 and not packet.clean_start:
            return self._turned_away(Reason.CLIENT_ID_NOT_VALID, "an empty client identifier")
        if packet.will is not None and packet.will.qos == 2 and packet.version == V5:
            return self._turned_away(Reason.QOS_NOT_SUPPORTED, "a will with QoS 2")
        device = None if self.is_newcomer else self._authenticate(packet)
        if device is None and not self.is_newcomer:
            return self._turned_away(
                Reason.NOT_AUTHORIZED,
                "no device has these credentials: an access token is the user name",
            )
        if not self._available():
            return self._turned_away(
                Reason.SERVER_UNAVAILABLE, "nothing can be stored now: try later"
            )
        self.client_id = packet.client_id or self._new_client_id()
        announced = self._announced(packet)
        if not _fits(announced, size):  # what it is not told it may ask for, and is refused
            announced = {
                name: value
                for name, value in announced.items()
                if name == Property.ASSIGNED_CLIENT_IDENTIFIER
            }
            if not _fits(announced, size):
                return Reply(b"", close=True)
        self.keep_alive = packet.keep_alive
        self._connected, self.device = True, device
        present = device is not None and self._take_kept(packet, device)
        self._set_up(packet)
        told = connack(self.version, Reason.SUCCESS, announced, session_present=present)
        return Reply(told + self.kept.outbox.resume())

    def _take_kept(self, packet: Connect, device: Device) -> bool:
        """Whether the client has a session already. (One with a clean start ends it.)"""
        kept = self._resume(device.id, self.client_id, packet.clean_start)
        self.kept = kept or Kept()
        self.kept.keep_seconds = _keep_seconds(packet)
        self.kept.will = _last_will(packet, device)
        return kept is not None

    def _set_up(self, packet: Connect) -> None:
        maximum = _number(packet.properties, Property.RECEIVE_MAXIMUM, _ANY_RECEIVE_MAXIMUM)
        largest = _number(packet.properties, Property.MAXIMUM_PACKET_SIZE, 0)
        self.kept.outbox.connect(packet.version, maximum, largest)

    def _disconnect(self, packet: Disconnect) -> Reply:
        if packet.reason != _DISCONNECT_WITH_WILL:
            self.kept.will = None
        if Property.SESSION_EXPIRY in packet.properties:
            wish = _number(packet.properties, Property.SESSION_EXPIRY, 0)
            if wish and not self.kept.keep_seconds:
                raise MqttError(Reason.PROTOCOL_ERROR, "a session of 0 s cannot become longer")
            self.kept.keep_seconds = min(wish, LONGEST_SECONDS)
        return Reply(b"", close=True)

    def _announced(self, packet: Connect) -> Properties:
        announced: dict[int, PropertyValue] = {
            Property.RECEIVE_MAXIMUM: self._rules.receive_maximum,
            Property.MAXIMUM_QOS: 1,
            Property.MAXIMUM_PACKET_SIZE: self._rules.maximum_packet,
            Property.TOPIC_ALIAS_MAXIMUM: self._rules.topic_alias_maximum,
            Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0,
            Property.SHARED_SUBSCRIPTION_AVAILABLE: 0,
        }
        if _number(packet.properties, Property.SESSION_EXPIRY, 0) > LONGEST_SECONDS:
            announced[Property.SESSION_EXPIRY] = LONGEST_SECONDS
        if not packet.client_id:
            announced[Property.ASSIGNED_CLIENT_IDENTIFIER] = self.client_id
        return announced

    def _turned_away(self, reason: Reason, text: str) -> Reply:
        return Reply(connack(self.version, reason, self._reason(text)), close=True)

    def _resolved(self, packet: Publish) -> str:
        alias = packet.properties.get(Property.TOPIC_ALIAS)
        if isinstance(alias, int):
            if not 0 < alias <= self._rules.topic_alias_maximum:
                raise MqttError(
                    Reason.TOPIC_ALIAS_INVALID,
                    f"topic alias {alias} is not in 1..{self._rules.topic_alias_maximum}",
                )
            if packet.topic:  # of one that is none of ours a part is enough
                self._aliases[alias] = packet.topic[: LONGEST_TOPIC + 1]
            topic = self._aliases.get(alias, "")
        else:
            topic = packet.topic
        if not topic:
            raise MqttError(Reason.PROTOCOL_ERROR, "neither a topic nor a known alias")
        return topic

    def _subscribe(self, packet: Subscribe) -> bytes:
        if Property.SUBSCRIPTION_IDENTIFIER in packet.properties:
            raise MqttError(
                Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                "subscription identifiers are not supported",
            )
        codes: list[int] = []
        for topic_filter, qos in packet.subscriptions:
            if topic_filter in self._subscribable:
                self.kept.subscriptions[topic_filter] = min(qos, 1)
                codes.append(min(qos, 1))
            else:
                codes.append(_why_not(topic_filter))
        return suback(self.version, packet.packet_id, codes)

    def _unsubscribe(self, packet: Unsubscribe) -> bytes:
        codes: list[int] = []
        for topic_filter in packet.topic_filters:
            known = self.kept.subscriptions.pop(topic_filter, None) is not None
            codes.append(Reason.SUCCESS if known else Reason.NO_SUBSCRIPTION_EXISTED)
        return unsuback(self.version, packet.packet_id, codes)

    def _reason(self, text: str) -> Properties:
        if self._short_packets:
            return NO_PROPERTIES
        return {Property.REASON_STRING: text.replace("\0", "")[:_REASON_LENGTH]}


def _fits(announced: Properties, size: PropertyValue) -> bool:
    return not isinstance(size, int) or len(connack(V5, Reason.SUCCESS, announced)) <= size


def _keep_seconds(packet: Connect) -> int:
    if packet.version == V5:
        return min(_number(packet.properties, Property.SESSION_EXPIRY, 0), LONGEST_SECONDS)
    return 0 if packet.clean_start else LONGEST_SECONDS


def _last_will(packet: Connect, device: Device) -> LastWill | None:
    will = packet.will
    if will is None:
        return None
    delay = _number(will.properties, Property.WILL_DELAY, 0)
    return LastWill(device, will.topic, will.payload, delay)


def _number(properties: Properties, name: Property, default: int) -> int:
    value = properties.get(name, default)
    return value if isinstance(value, int) else default


def _why_not(topic_filter: str) -> Reason:
    levels = topic_filter.split("/")
    wrong = any(
        ("#" in level and (level != "#" or index != len(levels) - 1))
        or ("+" in level and level != "+")
        for index, level in enumerate(levels)
    )
    if not topic_filter or wrong:
        return Reason.TOPIC_FILTER_INVALID
    if levels[0] == "$share":
        return Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    return Reason.NOT_AUTHORIZED
