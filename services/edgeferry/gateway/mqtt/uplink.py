"""The way up from one MQTT connection: its publishes to the log, and their acknowledgements.

All publishes of one read go to the appender together; their acknowledgements are prepared
at once and written when the records are durable, so they keep the order of the publishes.
"""

import asyncio
from typing import Final

from edgeferry.core.errors import EdgeferryError, InvalidPayload
from edgeferry.gateway.appender import weight
from edgeferry.gateway.devices import Device
from edgeferry.gateway.gate import NotTaken
from edgeferry.gateway.mqtt import shared
from edgeferry.gateway.mqtt.downlink import Downlink
from edgeferry.gateway.mqtt.flow import PROCESS, RATE, REFUSED, RESOLVE, WINDOW, Flow
from edgeferry.gateway.mqtt.inbound import (
    NotSupported,
    Unresolved,
    lane_of,
    refusal_of,
    resolve,
    take,
)
from edgeferry.gateway.mqtt.packets import Publish, Reason
from edgeferry.gateway.mqtt.session import Session
from edgeferry.gateway.mqtt.shared import Batch, Parts
from edgeferry.gateway.not_yet import NotYet

REFUSED_SECONDS: Final = 2.0
"""Before a 3.1.1 client that was refused is disconnected: it will be back at once."""
SLOWEST_SECONDS: Final = 60.0


class Uplink:
    """``down``: set while the client is connected."""

    def __init__(self, parts: Parts, session: Session, flow: Flow) -> None:
        self._metrics = parts.context.metrics
        self._monotonic = parts.context.clock.monotonic
        self._records = parts.records
        self._appender = parts.appender
        self._gate = parts.gate
        self._api = parts.api
        self._session = session
        self._flow = flow
        self._waiting_publishes = 0
        self._waiting_bytes = 0
        self._refused: tuple[float, NotTaken] | None = None
        self._slowed: asyncio.TimerHandle | None = None
        self._waits_for_room = False
        self._stopped = False
        self.down: Downlink | None = None

    @property
    def available(self) -> bool:
        """Whether new clients can be served now."""
        return self._appender.available and not self._appender.full and self._gate.open

    def refused(self, now: float) -> str:
        """Why the connection has to end now; empty: it has not."""
        if self._refused is None or self._waiting_publishes:
            return ""
        since, refused = self._refused
        return refused.text if now - since >= REFUSED_SECONDS else ""

    def stop(self) -> None:
        """Nothing more is read."""
        self._stopped = True
        if self._slowed is not None:
            self._slowed.cancel()

    def publish(self, packet: Publish, batch: Batch) -> None:
        """Raises MqttError."""
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

    def hand_over(self, batch: Batch) -> None:
        """To the log."""
        if not batch.publishes:
            return
        if batch.understood:
            self._metrics.received("mqtt", batch.understood, batch.understood_size)

        def settle(error: EdgeferryError | None) -> None:
            self._settled(batch, error)

        self._appender.put(batch.records, batch.size, settle)
        if self._appender.full and not self._waits_for_room and not self._stopped:
            self._waits_for_room = True
            self._flow.hold(PROCESS)
            self._appender.when_room(self._has_room)

    def _take(self, packet: Publish, topic: str, batch: Batch) -> bool:
        """False: something has to be waited for, and nothing more is read until then."""
        payload, session, before = packet.payload, self._session, len(batch.records)
        assert self.down is not None
        try:
            records = take(self.down, topic, payload)
        except Unresolved as error:
            self._flow.hold(RESOLVE)
            self._api.spawn(self._resolve(packet, topic, error))
            return False
        except NotYet as wait:
            self._flow.hold(RESOLVE)
            self._api.spawn(self._take_later(packet, wait))
            return False
        except InvalidPayload as error:
            self._refuse(packet, topic, error, batch)
        else:
            batch.records += records
            batch.understood += 1
            batch.understood_size += len(payload)
            batch.acks += session.acknowledgement(packet)
        self._count(packet, len(batch.records) - before, batch)
        return True

    async def _take_later(self, packet: Publish, wait: NotYet) -> None:
        """It is acknowledged when it is durable; not at all where that cannot be waited for."""
        try:
            records = await wait.records()
        except EdgeferryError as error:
            self._flow.end(Reason.SERVER_BUSY, f"nothing can be looked up: {error}")
            return
        batch = Batch(records, understood=1, understood_size=len(packet.payload))
        batch.acks += self._session.acknowledgement(packet)
        self._count(packet, len(records), batch)
        self.hand_over(batch)
        self._flow.release(RESOLVE)

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
            self._flow.hold(WINDOW)

    async def _resolve(self, packet: Publish, topic: str, error: Unresolved) -> None:
        """Nothing more is read until the devices that this publish names are found."""
        batch, down = Batch(), self.down
        assert down is not None
        try:
            await resolve(down, error)
        except InvalidPayload as problem:
            self._refuse(packet, topic, problem, batch)
            self._count(packet, len(batch.records), batch)
        except EdgeferryError as problem:
            text = f"devices behind a gateway are not found: {problem}"
            self._flow.end(Reason.SERVER_BUSY, text)
            return
        else:
            if self.down is None:  # the connection has ended meanwhile
                down.close()
                return
            if not self._take(packet, topic, batch):
                return
        self.hand_over(batch)
        self._flow.release(RESOLVE)

    def _keep_pace(self, packet: Publish, device: Device) -> None:
        """Raises NotTaken for a sender that can be told; another is not read for a while."""
        size = len(packet.payload)
        if self._session.can_tell(packet):
            self._gate.pass_or_refuse(device.id, size)
            return
        wait = self._gate.pass_and_wait(device.id, size)
        if wait:
            self._metrics.slowed()
            self._flow.hold(RATE)
            self._slowed = asyncio.get_running_loop().call_later(
                min(wait, SLOWEST_SECONDS), self._flow.release, RATE
            )

    def _turn_away(self, packet: Publish, refused: NotTaken, batch: Batch) -> None:
        """Nothing of it is kept, and no acknowledgement says so: MQTT 5 has a reason for that;
        with 3.1.1 the connection ends, after what was sent before has been acknowledged."""
        self._metrics.rejected("mqtt", refused.word)
        if not packet.qos:
            return
        batch.publishes += 1
        batch.with_ack += 1
        self._waiting_publishes += 1
        if told := self._session.refusal(packet, Reason.QUOTA_EXCEEDED, refused.text):
            batch.acks += told
        else:
            self._refused = (self._monotonic(), refused)
            self._flow.hold(REFUSED)

    def _refuse(self, packet: Publish, topic: str, error: InvalidPayload, batch: Batch) -> None:
        """Tell the sender; where it cannot be told, keep the payload as a dead letter, unless
        it is of what is not served at all."""
        word, reason = refusal_of(error)
        self._metrics.rejected("mqtt", word)
        if told := self._session.refusal(packet, reason, str(error)):
            batch.acks += told
            return
        batch.acks += self._session.acknowledgement(packet)
        if isinstance(error, NotSupported):
            return
        device = self._session.device
        assert device is not None
        batch.records.append(self._records.dead_letter(device, topic, packet.payload, error))
        self._metrics.dead_lettered(word)

    def _has_room(self) -> None:
        self._waits_for_room = False
        self._flow.release(PROCESS)

    def _settled(self, batch: Batch, error: EdgeferryError | None) -> None:
        self._waiting_publishes -= batch.publishes
        self._waiting_bytes -= batch.size
        self._session.unacknowledged -= batch.with_ack
        if error is not None:
            self._flow.end(Reason.SERVER_BUSY, f"nothing can be acknowledged: {error}")
        elif batch.acks:
            self._flow.write(bytes(batch.acks))
        few = 2 * self._waiting_publishes < shared.WINDOW_PUBLISHES
        if few and 2 * self._waiting_bytes < shared.WINDOW_BYTES:
            self._flow.release(WINDOW)
