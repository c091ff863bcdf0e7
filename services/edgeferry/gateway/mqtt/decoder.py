"""Bytes from a client to packets: incremental, strict, no I/O."""

from collections.abc import Mapping
from typing import Final

from edgeferry.gateway.mqtt.packets import (
    NO_PROPERTIES,
    V5,
    V31,
    V311,
    Connect,
    Disconnect,
    FromClient,
    Kind,
    MqttError,
    PingReq,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
)
from edgeferry.gateway.mqtt.wire import (
    WILL,
    Cursor,
    malformed,
    protocol_error,
    read_properties,
    topic_filter,
    topic_name,
)
from edgeferry.gateway.topics import LONGEST_TOPIC

_FLAGS_OF: Final[Mapping[int, int]] = {
    Kind.CONNECT: 0,
    Kind.PUBACK: 0,
    Kind.SUBSCRIBE: 2,
    Kind.UNSUBSCRIBE: 2,
    Kind.PINGREQ: 0,
    Kind.DISCONNECT: 0,
}
"""Packet types that a client may send (AUTH and those of QoS 2 are not served)."""
_PUBACK_REASONS: Final = frozenset({0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_NO_LOCAL: Final = 0x04
_KNOWN_TOPICS: Final = 64


class Decoder:
    """Feed bytes, take packets. Once MqttError was raised the connection has to end.

    ``version`` is 0 until CONNECT was read. ``max_packet`` (bytes, header included) may be
    changed between packets.
    """

    def __init__(self, max_packet: int) -> None:
        self.version = 0
        self.max_packet = max_packet
        self._data = b""
        self._at = 0
        self._tail = bytearray()
        self._wanted = 0
        self._topics: dict[bytes, str] = {}

    def feed(self, data: bytes) -> None:
        if not self._tail:
            self._data = self._data[self._at :] + data if self._at < len(self._data) else data
            self._at = 0
            return
        self._tail += data
        if len(self._tail) >= self._wanted:
            self._data = bytes(self._tail)
            self._at = 0
            self._tail.clear()

    def next(self) -> FromClient | None:
        """The next whole packet, or None until more bytes come. Raises MqttError."""
        data, at = self._data, self._at
        size = len(data)
        if size - at < 2:
            self._keep(at, 2)
            return None
        first = data[at]
        length = data[at + 1]
        body = at + 2
        if length > 0x7F:
            length, body = _long_length(data, at + 1)
            if not body:
                self._keep(at, size - at + 1)
                return None
        end = body + length
        if end - at > self.max_packet:
            raise MqttError(
                Reason.PACKET_TOO_LARGE,
                f"a packet of {end - at} bytes is above the limit of {self.max_packet} bytes",
            )
        if end > size:
            self._keep(at, end - at)
            return None
        self._at = end
        if first >> 4 == Kind.PUBLISH:
            return self._publish(first, data, body, end)
        return self._other(first, Cursor(data, body, end))

    def _keep(self, at: int, wanted: int) -> None:
        """Collect an unfinished packet without copying it at every read."""
        if at < len(self._data):
            self._tail += self._data[at:]
            self._wanted = wanted
        self._data = b""
        self._at = 0

    def _publish(self, first: int, data: bytes, at: int, end: int) -> Publish:
        if not self.version:
            raise protocol_error("the first packet is not CONNECT")
        qos = first >> 1 & 3
        if qos == 3 or (not qos and first & 8):
            raise malformed("PUBLISH with QoS 3, or a repeat with QoS 0")
        start = at + 2
        at = start + (data[at] << 8 | data[at + 1]) if start <= end else end + 1
        packet_id = 0
        if qos:
            packet_id = data[at] << 8 | data[at + 1] if at + 2 <= end else -1
            at += 2
        if at > end:
            raise malformed("the packet ends within a field")
        if qos and not packet_id:
            raise protocol_error("the packet identifier is 0")
        raw_topic = data[start : at - 2 if qos else at]
        topic = self._topics.get(raw_topic)
        if topic is None:
            topic = self._topic(raw_topic)
        properties = NO_PROPERTIES
        if self.version == V5:
            if at < end and data[at] == 0:
                at += 1
            else:
                cursor = Cursor(data, at, end)
                properties = read_properties(cursor, Kind.PUBLISH)
                at = cursor.at
        return Publish(
            topic, data[at:end], qos, packet_id, first & 1 != 0, first & 8 != 0, properties
        )

    def _topic(self, raw: bytes) -> str:
        topic = topic_name(raw)
        if not topic and self.version == V311:
            raise malformed("the topic name is empty")
        if len(self._topics) < _KNOWN_TOPICS and len(raw) <= LONGEST_TOPIC:
            self._topics[raw] = topic
        return topic

    def _other(self, first: int, cursor: Cursor) -> FromClient:
        kind = first >> 4
        if kind not in _FLAGS_OF:
            raise protocol_error(f"packets of type {kind} are not what a client may send")
        if _FLAGS_OF[kind] != first & 0x0F:
            raise malformed(f"the flags of a first byte of {first:#04x} are not allowed")
        if not self.version and kind != Kind.CONNECT:
            raise protocol_error("the first packet is not CONNECT")
        packet: FromClient
        match kind:
            case Kind.CONNECT:
                packet = self._connect(cursor)
            case Kind.PUBACK:
                packet = self._puback(cursor)
            case Kind.SUBSCRIBE:
                packet = self._subscribe(cursor)
            case Kind.UNSUBSCRIBE:
                packet = self._unsubscribe(cursor)
            case Kind.PINGREQ:
                packet = PingReq()
            case _:
                packet = self._disconnect(cursor)
        cursor.done()
        return packet

    def _connect(self, cursor: Cursor) -> Connect:
        if self.version:
            raise protocol_error("a second CONNECT")
        name, level = cursor.string(), cursor.byte()
        if name not in ("MQTT", "MQIsdp"):
            raise malformed(f"the protocol name is {name[:20]!r}, not 'MQTT'")
        if (name, level) == ("MQIsdp", V31):
            level = V311  # which it differs from in these two fields only
        elif name != "MQTT" or level not in (V311, V5):
            self.version = V5 if level > V5 else V311  # of the answer
            raise MqttError(
                Reason.UNSUPPORTED_VERSION,
                f"protocol level {level} is not supported: use MQTT 3.1.1 or 5",
            )
        self.version = level
        flags = cursor.byte()
        has_name, has_password, has_will = flags & 0x80, flags & 0x40, flags & 0x04
        if flags & 1 or (has_password and not has_name and level == V311):
            raise malformed(f"CONNECT flags {flags:#04x} are not allowed")
        if (flags >> 3 & 3) == 3 or (not has_will and flags & 0x38):
            raise malformed(f"CONNECT flags {flags:#04x} are not allowed")
        keep_alive = cursor.two_bytes()
        properties = read_properties(cursor, Kind.CONNECT) if level == V5 else NO_PROPERTIES
        client_id = cursor.string()
        will = self._will(cursor, flags) if has_will else None
        return Connect(
            version=level,
            client_id=client_id,
            clean_start=bool(flags & 2),
            keep_alive=keep_alive,
            user_name=cursor.string() if has_name else None,
            password=cursor.binary() if has_password else None,
            will=will,
            properties=properties,
        )

    def _will(self, cursor: Cursor, flags: int) -> Will:
        properties = read_properties(cursor, WILL) if self.version == V5 else NO_PROPERTIES
        topic = topic_name(cursor.binary())
        if not topic:
            raise malformed("the topic of the will is empty")
        return Will(
            topic=topic,
            payload=cursor.binary(),
            qos=flags >> 3 & 3,
            retain=bool(flags & 0x20),
            properties=properties,
        )

    def _puback(self, cursor: Cursor) -> PubAck:
        packet_id = cursor.packet_id()
        if self.version != V5 or cursor.at == cursor.end:
            return PubAck(packet_id)
        reason = cursor.byte()
        if reason not in _PUBACK_REASONS:
            raise protocol_error(f"PUBACK has no reason {reason:#04x}")
        if cursor.at == cursor.end:
            return PubAck(packet_id, reason)
        return PubAck(packet_id, reason, read_properties(cursor, Kind.PUBACK))

    def _subscribe(self, cursor: Cursor) -> Subscribe:
        packet_id = cursor.packet_id()
        properties = NO_PROPERTIES
        if self.version == V5:
            properties = read_properties(cursor, Kind.SUBSCRIBE)
        subscriptions: list[Subscription] = []
        while cursor.at < cursor.end or not subscriptions:
            wanted, options = topic_filter(cursor), cursor.byte()
            reserved = 0xC0 if self.version == V5 else 0xFC
            if options & reserved or options & 3 == 3 or options & 0x30 == 0x30:
                raise malformed(f"subscription options {options:#04x} are not allowed")
            if options & _NO_LOCAL and wanted.startswith("$share/"):
                raise protocol_error("a shared subscription may not be without own messages")
            subscriptions.append(Subscription(wanted, options & 3))
        return Subscribe(packet_id, tuple(subscriptions), properties)

    def _unsubscribe(self, cursor: Cursor) -> Unsubscribe:
        packet_id = cursor.packet_id()
        properties = NO_PROPERTIES
        if self.version == V5:
            properties = read_properties(cursor, Kind.UNSUBSCRIBE)
        filters = [topic_filter(cursor)]
        while cursor.at < cursor.end:
            filters.append(topic_filter(cursor))
        return Unsubscribe(packet_id, tuple(filters), properties)

    def _disconnect(self, cursor: Cursor) -> Disconnect:
        if self.version != V5 or cursor.at == cursor.end:
            return Disconnect()
        reason = cursor.byte()
        if cursor.at == cursor.end:
            return Disconnect(reason)
        return Disconnect(reason, read_properties(cursor, Kind.DISCONNECT))


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """A remaining length of 2 to 4 bytes and where the body starts, 0 when bytes are missing."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            return 0, 0
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise malformed("the remaining length has more than 4 bytes")
