"""One device's connection: bytes in and out around the pure decoder and session.

All publishes of one read go to the appender together; their acknowledgements are prepared
at once and written when the records are durable, so they keep the order of the publishes.
"""

import asyncio
import logging
import socket
from typing import Final, cast

from edgeferry.core.errors import EdgeferryError, InvalidPayload, StoreUnavailable
from edgeferry.gateway.appender import weight
from edgeferry.gateway.device_api import MOST_IN_FLIGHT
from edgeferry.gateway.devices import Device
from edgeferry.gateway.gate import NotTaken
from edgeferry.gateway.mqtt import shared
from edgeferry.gateway.mqtt.decoder import Decoder
from edgeferry.gateway.mqtt.downlink import Downlink
from edgeferry.gateway.mqtt.inbound import (
    Unresolved,
    lane_of,
    refusal_of,
    resolve,
    take,
    will_records,
)
from edgeferry.gateway.mqtt.kept import Kept
from edgeferry.gateway.mqtt.packets import (
    V5,
    Connect,
    FromClient,
    MqttError,
    Publish,
    Reason,
    Subscribe,
)
from edgeferry.gateway.mqtt.session import Session, SessionRules
from edgeferry.gateway.mqtt.shared import Batch, Parts

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
KEEP_ALIVE_FACTOR: Final = 1.5

REFUSED_SECONDS: Final = 2.0
"""Before a 3.1.1 client that was refused is disconnected: it will be back at once."""
SLOWEST_SECONDS: Final = 60.0

_WINDOW, _PROCESS, _WRITE, _CLOSED, _RATE, _REFUSED, _RESOLVE = 1, 2, 4, 8, 16, 32, 64

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    def __init__(self, parts: Parts) -> None:
        context = parts.context
        limit = context.limits.payload_bytes
        maximum_packet = limit + shared.PACKET_OVERHEAD
        self._context = context
        self._records = parts.records
        self._appender = parts.appender
        self._gate = parts.gate
        self._sessions = parts.sessions
        self._bound = parts.bound
        self._entered = False
        self._monotonic = context.clock.monotonic
        self._decoder = Decoder(maximum_packet)
        self._max_packet_311 = 2 * limit + shared.PACKET_OVERHEAD
        self._session = Session(
            rules=SessionRules(maximum_packet=maximum_packet, receive_maximum=MOST_IN_FLIGHT),
            authenticate=context.devices.find,
            available=self._can_serve,
            new_client_id=context.ids.next,
            resume=self._resume,
        )
        self._api = parts.api
        self._down: Downlink | None = None
        self._transport: asyncio.Transport | None = None
        self._held = 0
        self._asked = False
        self._waiting_publishes = 0
        self._waiting_bytes = 0
        self._opened = self._heard = self._monotonic()
        self._ended: float | None = None
        self._refused: tuple[float, NotTaken] | None = None
        self._slowed: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._entered = self._bound.enter(self, str(peer[0]) if peer else "")
        if not self._entered:
            self._held |= _CLOSED
            self._transport.abort()
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._sessions.all.add(self)
        self._context.metrics.connections(1)

    def connection_lost(self, error: Exception | None) -> None:
        self._held |= _CLOSED
        if not self._entered:
            return
        self._bound.leave(self)
        if self._slowed is not None:
            self._slowed.cancel()
        device = self._session.device
        self._sessions.closed(self, device.id if device else "", self._session.client_id)
        self._context.metrics.connections(-1)
        if self._down is not None:
            self._leave(self._down)

    def data_received(self, data: bytes) -> None:
        self._heard = self._monotonic()
        self._decoder.feed(data)
        self._take_packets()

    def pause_writing(self) -> None:
        self._hold(_WRITE)

    def resume_writing(self) -> None:
        self._release(_WRITE)

    # --- for the gateway

    def check(self, now: float) -> None:
        """End what is silent for too long; to be called every second or so."""
        if self._ended is not None:
            if now - self._ended > CLOSE_SECONDS and self._transport is not None:
                self._transport.abort()
        elif self._session.device is None:
            if now - self._opened > CONNECT_SECONDS:
                self.end(Reason.KEEP_ALIVE_TIMEOUT, "no CONNECT came")
        elif self._refused is not None:
            since, refused = self._refused
            if now - since >= REFUSED_SECONDS and not self._waiting_publishes:
                self.end(Reason.QUOTA_EXCEEDED, refused.text)
        else:
            patience = self._session.keep_alive * KEEP_ALIVE_FACTOR
            # while we do not read, we cannot hear
            if patience and not self._held and now - self._heard > patience:
                self.end(Reason.KEEP_ALIVE_TIMEOUT, f"nothing came for {patience:.0f} s")

    def check_device(self) -> None:
        """End the session when its token is gone or means another device now."""
        device = self._session.device
        if device is None or self._ended is not None:
            return
        found = self._context.devices.find(device.token)
        if found is None or found.id != device.id:
            self.end(Reason.NOT_AUTHORIZED, "the device or its token was removed")
        else:
            self._session.device = found
            if self._down is not None:
                self._down.device = found

    def end(self, reason: Reason, text: str) -> None:
        """Tell the client why, where its version can be told, and close."""
        if self._ended is not None or self._transport is None:
            return
        self._context.metrics.rejected("mqtt", reason.name.lower())
        log.info("connection of %s ends: %s", self._name(), text)
        data = self._session.farewell(self._decoder.version, reason, text)
        if data:
            self._transport.write(data)
        self._close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- packets

    def _take_packets(self) -> None:
        batch = Batch()
        decoder = self._decoder
        try:
            while not self._held:
                packet = decoder.next()
                if packet is None:
                    break
                if type(packet) is Publish:
                    self._publish(packet, batch)
                else:
                    self._answer(packet)
        except MqttError as error:
            self._hand_over(batch)
            self.end(error.reason, str(error))
        else:
            self._hand_over(batch)

    async def _find_device(self, packet: Connect) -> None:
        """Nothing more is read until it is known whose token this is."""
        try:
            await self._context.devices.look(packet.user_name or "")
        except StoreUnavailable as error:
            self.end(Reason.SERVER_UNAVAILABLE, f"devices cannot be looked up: {error}")
            return
        if self._ended is not None or self._held & _CLOSED:
            return
        self._asked = True
        try:
            self._answer(packet)
        except MqttError as error:
            self.end(error.reason, str(error))
        else:
            self._release(_RESOLVE)

    def _is_known(self, packet: Connect) -> bool:
        name = packet.user_name
        return not name or self._context.devices.find(name) is not None

    def _answer(self, packet: FromClient) -> None:
        session = self._session
        if type(packet) is Connect and not (self._asked or self._is_known(packet)):
            self._hold(_RESOLVE)
            self._api.spawn(self._find_device(packet))
            return
        reply = session.receive(packet)
        assert self._transport is not None
        if reply.data:
            self._transport.write(reply.data)
        if reply.close:
            if session.device is None:
                self._context.metrics.rejected("mqtt", "connect")
            self._close()
        elif type(packet) is Connect and session.device is not None:
            if packet.version != V5:
                # Nothing was announced to this client, so what is somewhat too large becomes
                # a dead letter.
                self._decoder.max_packet = self._max_packet_311
            self._bound.settle(self)
            self._sessions.connected(self, session.device.id, session.client_id)
            self._down = Downlink(self._api, session, session.device, self._write_down)
            self._down.subscribed()
        elif type(packet) is Subscribe and self._down is not None:
            self._down.subscribed()

    def _publish(self, packet: Publish, batch: Batch) -> None:
        session = self._session
        topic = session.admit(packet)
        device = session.device
        assert device is not None
        try:
            self._gate.room(lane_of(topic))
            self._keep_pace(packet, device)
        except NotTaken as refused:
            self._turn_away(packet, refused, batch)
            return
        self._take(packet, topic, batch)

    def _take(self, packet: Publish, topic: str, batch: Batch) -> None:
        payload, session, before = packet.payload, self._session, len(batch.records)
        assert self._down is not None
        try:
            records = take(self._down, topic, payload)
        except Unresolved as error:
            self._hold(_RESOLVE)
            self._api.spawn(self._resolve(packet, topic, error))
            return
        except InvalidPayload as error:
            self._refuse(packet, topic, error, batch)
        else:
            batch.records += records
            batch.understood += 1
            batch.understood_size += len(payload)
            batch.acks += session.acknowledgement(packet)
        self._count(packet, len(batch.records) - before, batch)

    def _count(self, packet: Publish, records: int, batch: Batch) -> None:
        size = weight(len(packet.payload), records)
        batch.publishes += 1
        batch.with_ack += packet.qos
        batch.size += size
        self._waiting_publishes += 1
        self._waiting_bytes += size
        if (
            self._waiting_publishes >= shared.WINDOW_PUBLISHES
            or self._waiting_bytes >= shared.WINDOW_BYTES
        ):
            self._hold(_WINDOW)

    async def _resolve(self, packet: Publish, topic: str, error: Unresolved) -> None:
        """Nothing more is read until the devices that this publish names are found."""
        batch, down = Batch(), self._down
        assert down is not None
        try:
            await resolve(down, error)
        except InvalidPayload as problem:
            self._refuse(packet, topic, problem, batch)
            self._count(packet, len(batch.records), batch)
        except EdgeferryError as problem:
            self.end(Reason.SERVER_BUSY, f"devices behind a gateway are not found: {problem}")
            return
        else:
            if self._down is None:  # the connection has ended meanwhile
                down.close()
                return
            self._take(packet, topic, batch)
        self._hand_over(batch)
        self._release(_RESOLVE)

    def _keep_pace(self, packet: Publish, device: Device) -> None:
        """Raises NotTaken for a sender that can be told; another is not read for a while."""
        size = len(packet.payload)
        if self._session.can_tell(packet):
            self._gate.pass_or_refuse(device.id, size)
            return
        wait = self._gate.pass_and_wait(device.id, size)
        if wait:
            self._context.metrics.slowed()
            self._hold(_RATE)
            self._slowed = asyncio.get_running_loop().call_later(
                min(wait, SLOWEST_SECONDS), self._release, _RATE
            )

    def _turn_away(self, packet: Publish, refused: NotTaken, batch: Batch) -> None:
        """Nothing of it is kept, and no acknowledgement says so: MQTT 5 has a reason for that;
        with 3.1.1 the connection ends, after what was sent before has been acknowledged."""
        self._context.metrics.rejected("mqtt", refused.word)
        if not packet.qos:
            return
        batch.publishes += 1
        batch.with_ack += 1
        self._waiting_publishes += 1
        if told := self._session.refusal(packet, Reason.QUOTA_EXCEEDED, refused.text):
            batch.acks += told
        else:
            self._refused = (self._monotonic(), refused)
            self._hold(_REFUSED)

    def _refuse(self, packet: Publish, topic: str, error: InvalidPayload, batch: Batch) -> None:
        """Tell the sender; where it cannot be told, keep the payload as a dead letter."""
        word, reason = refusal_of(error)
        metrics = self._context.metrics
        metrics.rejected("mqtt", word)
        if told := self._session.refusal(packet, reason, str(error)):
            batch.acks += told
            return
        device = self._session.device
        assert device is not None
        batch.records.append(self._records.dead_letter(device, topic, packet.payload, error))
        batch.acks += self._session.acknowledgement(packet)
        metrics.dead_lettered(word)

    def _hand_over(self, batch: Batch) -> None:
        if not batch.publishes:
            return
        if batch.understood:
            self._context.metrics.received("mqtt", batch.understood, batch.understood_size)

        def settle(error: EdgeferryError | None) -> None:
            self._settled(batch, error)

        self._appender.put(batch.records, batch.size, settle)
        if self._appender.full and not self._held & (_PROCESS | _CLOSED):
            self._hold(_PROCESS)
            self._appender.when_room(lambda: self._release(_PROCESS))

    def _settled(self, batch: Batch, error: EdgeferryError | None) -> None:
        self._waiting_publishes -= batch.publishes
        self._waiting_bytes -= batch.size
        self._session.unacknowledged -= batch.with_ack
        if error is not None:
            self.end(Reason.SERVER_BUSY, f"nothing can be acknowledged: {error}")
        elif batch.acks and self._ended is None and self._transport is not None:
            self._transport.write(bytes(batch.acks))
        few = 2 * self._waiting_publishes < shared.WINDOW_PUBLISHES
        if few and 2 * self._waiting_bytes < shared.WINDOW_BYTES:
            self._release(_WINDOW)

    # --- down

    def _resume(self, device_id: str, client_id: str, clean: bool) -> Kept | None:
        kept = self._sessions.resume(device_id, client_id, self._monotonic())
        if kept is not None and clean:
            self._api.desk.release(kept)
            return None
        return kept

    def _write_down(self, data: bytes) -> None:
        if self._ended is None and self._transport is not None:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > shared.MOST_UNREAD_BYTES:
                self.end(Reason.QUOTA_EXCEEDED, "the client does not read what it asked for")

    def _leave(self, down: Downlink) -> None:
        """The connection is gone: its will is published, its session kept or ended."""
        self._down = None
        down.close()
        kept = self._session.kept
        kept.outbox.disconnect()
        device_id, client_id, now = down.device.id, self._session.client_id, self._monotonic()
        for ended in self._sessions.kept.keep(device_id, client_id, kept, now):
            self._api.desk.release(ended)
        will, self._session.will = self._session.will, None
        records = will_records(down, will) if will is not None else []
        if will is not None and records:
            batch = Batch(records, understood=1, understood_size=len(will.payload))
            self._count(Publish(will.topic, will.payload), len(records), batch)
            self._hand_over(batch)

    # --- flow

    def _can_serve(self) -> bool:
        return self._appender.available and not self._appender.full and self._gate.open

    def _hold(self, why: int) -> None:
        if not self._held and self._transport is not None:
            self._transport.pause_reading()
        self._held |= why

    def _release(self, why: int) -> None:
        if not self._held & why:
            return
        self._held &= ~why
        if not self._held and self._transport is not None:
            self._heard = self._monotonic()
            self._transport.resume_reading()
            self._take_packets()

    def _close(self) -> None:
        self._hold(_CLOSED)
        self._ended = self._monotonic()
        if self._down is not None:
            self._leave(self._down)
        assert self._transport is not None
        self._transport.close()

    def _name(self) -> str:
        device = self._session.device
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return f"{device.name} at {peer}" if device else f"an unknown client at {peer}"
