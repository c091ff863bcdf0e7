"""Payloads of devices made into records of the log."""

from collections.abc import Mapping
from typing import NamedTuple

from edgeferry.core.changes import AttributeChange, RpcChange, RpcStatus
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import InvalidPayload, PayloadTooLarge
from edgeferry.core.ids import TraceIds
from edgeferry.core.kv import Scope, Value
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.record import HEADER_ORIGIN, HEADER_TRACEPARENT, HEADER_TYPE, Headers, Outgoing
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.devices import Device
from edgeferry.gateway.payload import read_attributes, read_telemetry, to_text
from edgeferry.log.change_codec import encode_change
from edgeferry.log.codec import encode_dead_letter, encode_message
from edgeferry.log.topics import root_topic, site_topic

NODE = "gateway"
"""Stands for a node's name in dead letters."""

_RECORD_OVERHEAD = 1024
"""Key, headers and framing, generously."""
_NO_STACK: list[str] = []
_TELEMETRY = str(MessageType.POST_TELEMETRY_REQUEST)
_ATTRIBUTES = str(MessageType.POST_ATTRIBUTES_REQUEST)
_CALL = str(MessageType.TO_SERVER_RPC_REQUEST)
_DEVICE = str(EntityType.DEVICE)
_JSON = str(DataType.JSON)


class CallAddress(NamedTuple):
    """Where the answer to a device's call goes: gateway process, session, the device's id."""

    service_id: str
    session_id: str
    call_id: int


class Records:
    """Makes records for the site's root chain and its dead letters."""

    def __init__(self, context: GatewayContext) -> None:
        self._context = context
        self._now_ms = context.clock.now_ms
        self._take_stamp = context.stamps.take
        self._next_id = context.ids.next
        self._next_trace = TraceIds().next
        self._limits = context.limits
        self._tenant_id = context.tenant_id
        self._topic = root_topic(context.site)
        self._dead_letters = site_topic(context.site, "dead-letters")
        self._changes = site_topic(context.site, "attribute-changes")
        self._origin = (HEADER_ORIGIN, context.site.encode())
        self._telemetry_header = (HEADER_TYPE, _TELEMETRY.encode())
        self._attributes_header = (HEADER_TYPE, _ATTRIBUTES.encode())
        self._max_value = context.writer.max_record_bytes - _RECORD_OVERHEAD

    def telemetry(self, device: Device, payload: bytes) -> list[Outgoing]:
        """One message per timestamp, in the payload's order; none for a payload without values.

        Metadata: deviceName, deviceType, ts (ms). Raises InvalidPayload.
        """
        now_ms = self._now_ms()
        return [
            self._record(
                device,
                now_ms,
                self._take_stamp(len(values)),
                _TELEMETRY,
                {"deviceName": device.name, "deviceType": device.profile, "ts": str(ts)},
                to_text(values),
                self._telemetry_header,
            )
            for ts, values in read_telemetry(payload, now_ms, self._limits)
        ]

    def attributes(self, device: Device, payload: bytes) -> list[Outgoing]:
        """One message; none for a payload without values.

        Metadata as ThingsBoard's transport sets them: deviceName, deviceType, notifyDevice
        false (the device knows what it sent). No scope: the chain's save node decides, and a
        device cannot choose. Raises InvalidPayload.
        """
        values = read_attributes(payload, self._limits)
        if not values:
            return []
        metadata = {
            "deviceName": device.name,
            "deviceType": device.profile,
            "notifyDevice": "false",
        }
        stamp = self._take_stamp(len(values))
        text = to_text(values)
        now_ms = self._now_ms()
        return [
            self._record(
                device, now_ms, stamp, _ATTRIBUTES, metadata, text, self._attributes_header
            )
        ]

    def call(self, device: Device, body: Mapping[str, object], address: CallAddress) -> Outgoing:
        """A device's call (method, params) for the root chain, whose answer comes back
        through ``device-commands`` with the same address. Raises PayloadTooLarge."""
        metadata = {
            "deviceName": device.name,
            "deviceType": device.profile,
            "requestId": str(address.call_id),
            "serviceId": address.service_id,
            "sessionId": address.session_id,
        }
        return self._record(
            device,
            self._now_ms(),
            self._take_stamp(1),
            _CALL,
            metadata,
            to_text(body),
            (HEADER_TYPE, _CALL.encode()),
        )

    def command_state(
        self, device_id: str, rpc_id: str, status: RpcStatus, body: str = ""
    ) -> Outgoing:
        """What became of a command, for the attributes service. body: JSON text."""
        change = RpcChange(
            self._next_id(),
            self._tenant_id,
            device_id,
            rpc_id,
            status,
            self._context.origin,
            self._now_ms(),
            body,
        )
        headers = (self._trace(), self._origin)
        return Outgoing(self._changes, device_id.encode(), encode_change(change), headers)

    def state_event(
        self, device: Device, label: str, type_: str, state: Mapping[str, object], ms: int
    ) -> Outgoing:
        """The device has come or gone, at ``ms``, for the root chain."""
        metadata = {
            "deviceName": device.name,
            "deviceType": device.profile,
            **({"deviceLabel": label} if label else {}),
            "scope": str(Scope.SERVER),
        }
        header = (HEADER_TYPE, type_.encode())
        stamp = self._take_stamp(1)
        return self._record(device, ms, stamp, str(type_), metadata, to_text(state), header)

    def device_event(self, device: Device, type_: str, body: Mapping[str, object]) -> Outgoing:
        """Something has happened to the device, for the root chain."""
        metadata = {"deviceName": device.name, "deviceType": device.profile}
        header, stamp = (HEADER_TYPE, type_.encode()), self._take_stamp(1)
        now_ms = self._now_ms()
        return self._record(device, now_ms, stamp, type_, metadata, to_text(body), header)

    def state_change(self, device: Device, values: Mapping[str, Value], ms: int) -> Outgoing:
        """What is kept of it: SERVER attributes, for the attributes service."""
        change = AttributeChange(
            id=self._next_id(),
            tenant_id=self._tenant_id,
            entity_type=_DEVICE,
            entity_id=device.id,
            scope=Scope.SERVER,
            origin=self._context.origin,
            created_time=ms,
            upserts=values,
        )
        headers = (self._trace(), self._origin)
        return Outgoing(self._changes, device.id.encode(), encode_change(change), headers)

    def dead_letter(
        self, device: Device, topic: str, payload: bytes, error: InvalidPayload
    ) -> Outgoing:
        """The payload (up to twice the limit) with its MQTT topic, keyed by the device."""
        now_ms = self._now_ms()
        headers = (self._trace(), self._origin)
        kept = min(2 * self._limits.payload_bytes, self._max_value // 2)
        key = device.id.encode()
        letter = DeadLetter(
            key=key,
            value=payload[:kept],
            headers=headers,
            topic=topic,
            partition=-1,
            offset=-1,
            site=self._context.site,
            chain="",
            node=NODE,
            error_class=type(error).__name__,
            error_text=str(error),
            first_failure=now_ms,
            last_failure=now_ms,
            attempts=1,
        )
        return Outgoing(self._dead_letters, key, encode_dead_letter(letter), headers)

    def _record(
        self,
        device: Device,
        now_ms: int,
        stamp: int,
        type_: str,
        metadata: dict[str, str],
        data: str,
        type_header: tuple[str, bytes],
    ) -> Outgoing:
        entity_id = device.id
        value = encode_message(
            RuleMessage(
                self._next_id(),
                self._tenant_id,
                now_ms,
                stamp,
                _NO_STACK,
                type_,
                _DEVICE,
                entity_id,
                metadata,
                _JSON,
                data,
            )
        )
        if len(value) > self._max_value:
            raise PayloadTooLarge(
                f"a message of {len(value)} bytes is above the log's limit of "
                f"{self._max_value} bytes"
            )
        headers: Headers = (self._trace(), self._origin, type_header)
        return Outgoing(self._topic, entity_id.encode(), value, headers)

    def _trace(self) -> tuple[str, bytes]:
        return HEADER_TRACEPARENT, self._next_trace()
