"""One device's connection: bytes in and out around the pure decoder and session, its log-in,
and when it is read. Its publishes go up through ``uplink``, and ``downlink`` is its way down."""

import asyncio
import logging
import socket
from typing import Final, cast

from edgeferry.core.errors import Later
from edgeferry.gateway.device_api import MOST_IN_FLIGHT
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Login
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.mqtt import shared
from edgeferry.gateway.mqtt.decoder import Decoder
from edgeferry.gateway.mqtt.downlink import Downlink
from edgeferry.gateway.mqtt.flow import CLOSED, RESOLVE, WRITE
from edgeferry.gateway.mqtt.handover import Handover
from edgeferry.gateway.mqtt.kept import Kept
from edgeferry.gateway.mqtt.newcomer import PATIENCE_SECONDS, Newcomer
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
from edgeferry.gateway.mqtt.uplink import Uplink
from edgeferry.gateway.secure import certificate_of

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 5.0
KEEP_ALIVE_FACTOR: Final = 1.5
SEEN_SECONDS: Final = 10.0
"""As often it is told that something came from a client."""

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """A ``flow.Flow``, a ``shared.OpenConnection``, a ``downlink.Writer``."""

    def __init__(self, parts: Parts) -> None:
        context = parts.context
        limit = context.limits.payload_bytes
        maximum_packet = limit + shared.PACKET_OVERHEAD
        self._context = context
        self._parts = parts
        self._sessions = parts.sessions
        self._bound = parts.bound
        self._wills = parts.wills
        self._entered = False
        self._monotonic = context.clock.monotonic
        self._decoder = Decoder(maximum_packet)
        self._max_packet_311 = 2 * limit + shared.PACKET_OVERHEAD
        self._session = Session(
            rules=SessionRules(maximum_packet=maximum_packet, receive_maximum=MOST_IN_FLIGHT),
            authenticate=self._authenticate,
            available=lambda: self._uplink.available,
            new_client_id=context.ids.next,
            resume=self._resume,
        )
        self._uplink = Uplink(parts, self._session, self)
        self._api = parts.api
        self._down: Downlink | None = None
        self._newcomer: Newcomer | None = None
        self._transport: asyncio.Transport | None = None
        self._handover: Handover | None = None
        self._held = 0
        self._address = ""
        self._certificate = ""
        self._login = Login()
        self._opened = self._heard = self._told = self._monotonic()
        self._ended: float | None = None

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's
        self._transport = cast(asyncio.Transport, transport)
        self._handover = Handover(self._transport, self._takes_more)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._entered = self._bound.enter(self, self._address)
        if not self._entered:
            self._held |= CLOSED
            self._transport.abort()
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._certificate = certificate_of(transport)
        self._sessions.all.add(self)
        self._context.metrics.connections(1)

    def connection_lost(self, error: Exception | None) -> None:
        self._held |= CLOSED
        if not self._entered:
            return
        self._bound.leave(self)
        self._uplink.stop()
        if self._handover is not None:
            self._handover.stop()
        device = self._session.device
        self._sessions.closed(self, device.id if device else "", self._session.client_id)
        self._context.metrics.connections(-1)
        if self._down is not None:
            self._leave(self._down)

    def data_received(self, data: bytes) -> None:
        self._heard = self._monotonic()
        self._decoder.feed(data)
        self._take_packets()

    def eof_received(self) -> None:
        """The client has gone, and may have taken all before."""
        if self._handover is not None:
            self._handover.look()

    def pause_writing(self) -> None:
        self.hold(WRITE)

    def resume_writing(self) -> None:
        self.release(WRITE)
        self._takes_more()

    # --- for the gateway

    def check(self, now: float) -> None:
        """End what is silent for too long; to be called every second or so."""
        if self._ended is not None:
            if now - self._ended > CLOSE_SECONDS and self._transport is not None:
                self._transport.abort()
        elif self._session.device is None:
            if now - self._opened > (PATIENCE_SECONDS if self._newcomer else CONNECT_SECONDS):
                text = "its minute is over" if self._newcomer else "no CONNECT came"
                self.end(Reason.KEEP_ALIVE_TIMEOUT, text)
        elif refused := self._uplink.refused(now):
            self.end(Reason.QUOTA_EXCEEDED, refused)
        else:
            if self._heard - self._told >= SEEN_SECONDS:
                self._told = self._heard
                self._api.presence.seen(self._session.device)
            patience = self._session.keep_alive * KEEP_ALIVE_FACTOR
            # while we do not read, we cannot hear
            if patience and not self._held and now - self._heard > patience:
                self.end(Reason.KEEP_ALIVE_TIMEOUT, f"nothing came for {patience:.0f} s")

    def check_device(self) -> None:
        """End the session when its credentials are gone or mean another device now."""
        device = self._session.device
        if device is None or self._ended is not None:
            return
        found = self._context.devices.find(self._login)
        if found is None or found.id != device.id:
            self.end(Reason.NOT_AUTHORIZED, "the device or its credentials were removed")
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
            self._write(data)
        self._close()

    def write(self, data: bytes) -> None:
        if self._ended is None and self._transport is not None:
            self._write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- packets

    def _take_packets(self) -> None:
        batch = Batch()
        decoder, uplink = self._decoder, self._uplink
        try:
            while not self._held:
                packet = decoder.next()
                if packet is None:
                    break
                if type(packet) is Publish:
                    if self._newcomer is not None:
                        self._newcomer.publish(packet)
                    else:
                        uplink.publish(packet, batch)
                elif type(packet) is Connect and self._session.device is None:
                    self._log_in(packet)
                else:
                    self._answer(packet)
        except MqttError as error:
            uplink.hand_over(batch)
            self.end(error.reason, str(error))
        else:
            uplink.hand_over(batch)

    def _log_in(self, packet: Connect) -> None:
        """At once where the device is in memory. Raises MqttError."""
        self._login = Login(
            packet.user_name or "", packet.password or b"", packet.client_id, self._certificate
        )
        if self._login.is_newcomer:
            self._session.expect_newcomer()
            self._newcomer = Newcomer(self._parts, self._session, self, self._address)
            self._answer(packet)
        elif self._context.devices.find(self._login) is not None:
            self._answer(packet)
        else:
            self.hold(RESOLVE)
            self._api.spawn(self._find_device(packet))

    async def _find_device(self, packet: Connect) -> None:
        """Nothing more is read until it is known whose credentials these are."""
        try:
            await self._context.devices.look(self._login, self._address)
        except Later as error:
            if isinstance(error, LookUpsBraked):
                self._context.metrics.rejected("mqtt", BRAKED)
            self.end(Reason.SERVER_UNAVAILABLE, f"devices cannot be looked up: {error}")
            return
        if self._ended is not None or self._held & CLOSED:
            return
        try:
            self._answer(packet)
        except MqttError as error:
            self.end(error.reason, str(error))
        else:
            self.release(RESOLVE)

    def _authenticate(self, packet: Connect) -> Device | None:
        return self._context.devices.find(self._login)

    def _answer(self, packet: FromClient) -> None:
        session = self._session
        reply = session.receive(packet)
        if reply.data:
            self._write(reply.data)
        if reply.close:
            if session.device is None and self._newcomer is None:
                self._context.metrics.rejected("mqtt", "connect")
            self._close()
        elif type(packet) is Connect and session.device is not None:
            if packet.version != V5:
                # Nothing was announced to this client, so what is somewhat too large becomes
                # a dead letter.
                self._decoder.max_packet = self._max_packet_311
            self._bound.settle(self)
            self._sessions.connected(self, session.device.id, session.client_id)
            assert self._handover is not None
            self._down = Downlink(
                self._api, session, session.device, writer=self, handover=self._handover
            )
            self._uplink.down = self._down
            self._down.subscribed()
        elif type(packet) is Subscribe and self._down is not None:
            self._down.subscribed()

    # --- down

    def _resume(self, device_id: str, client_id: str, clean: bool) -> Kept | None:
        self._sessions.take_over(device_id, client_id)
        kept, ended = self._sessions.kept.take(device_id, client_id, self._monotonic(), clean=clean)
        for one in ended:
            self._wills.session_ended(one)
        return kept

    @property
    def is_read(self) -> bool:
        return not self._held & WRITE

    def write_down(self, data: bytes) -> None:
        if self._ended is None and self._transport is not None:
            self._write(data)
            if self._transport.get_write_buffer_size() > shared.MOST_UNREAD_BYTES:
                self.end(Reason.QUOTA_EXCEEDED, "the client does not read what it asked for")

    def _write(self, data: bytes) -> None:
        assert self._handover is not None
        self._handover.write(data)

    def _takes_more(self) -> None:
        """The client reads what is written to it."""
        if self._down is not None and self._ended is None:
            self._down.reads_again()

    def _leave(self, down: Downlink) -> None:
        """The connection is gone: its session is kept or ended, its will published in time."""
        self._down = self._uplink.down = None
        down.close()
        kept = self._session.kept
        kept.outbox.disconnect()
        device_id, client_id, now = down.device.id, self._session.client_id, self._monotonic()
        for ended in self._sessions.kept.keep(device_id, client_id, kept, now):
            self._wills.session_ended(ended)
        if kept.will is not None and not kept.will.delay_seconds:
            will, kept.will = kept.will, None
            self._wills.publish(will)

    # --- flow

    def hold(self, why: int) -> None:
        if not self._held and self._transport is not None:
            self._transport.pause_reading()
        self._held |= why

    def release(self, why: int) -> None:
        if not self._held & why:
            return
        self._held &= ~why
        if not self._held and self._transport is not None:
            self._heard = self._monotonic()
            self._transport.resume_reading()
            self._take_packets()

    def _close(self) -> None:
        self.hold(CLOSED)
        self._uplink.stop()
        self._ended = self._monotonic()
        if self._handover is not None:
            self._handover.look()
            self._handover.stop()
        if self._down is not None:
            self._leave(self._down)
        assert self._transport is not None
        self._transport.close()

    def _name(self) -> str:
        device = self._session.device
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return f"{device.name} at {peer}" if device else f"an unknown client at {peer}"
