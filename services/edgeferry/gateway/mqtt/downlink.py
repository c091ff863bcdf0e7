"""The way down to one MQTT connection's device and to the devices behind it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import orjson

from edgeferry.gateway.device_api import DeviceApi
from edgeferry.gateway.devices import Device
from edgeferry.gateway.mqtt.handover import Handover
from edgeferry.gateway.mqtt.outbox import Acknowledged, Wanted
from edgeferry.gateway.mqtt.session import Session
from edgeferry.gateway.payload import to_text
from edgeferry.gateway.ports import Command, Handed
from edgeferry.gateway.topics import What

_MOST_CALLS = 1_000

log = logging.getLogger(__name__)


class Writer(Protocol):
    """The connection's way out."""

    @property
    def is_read(self) -> bool:
        """The client takes what is written."""
        ...

    def write_down(self, data: bytes) -> None: ...


class Downlink:
    """Made when the client is connected. A DeviceLink of its own device. ``handover``: of the
    same connection."""

    def __init__(
        self,
        api: DeviceApi,
        session: Session,
        device: Device,
        *,
        writer: Writer,
        handover: Handover,
    ) -> None:
        self.api = api
        self.device = device
        self.session_id = api.context.ids.next()
        self.nested: dict[str, NestedLink] = {}
        self._session = session
        self._writer = writer
        self._handover = handover
        self._calls: dict[int, str] = {}
        self._closed = False
        self._not_served: set[What] = set()
        self._withheld: set[str] = set()
        api.sessions.add(device.id, self.session_id, self)
        api.presence.opened(device)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.api.sessions.remove(self.device.id, self.session_id, self)
            self.api.presence.closed(self.device)
        for link in list(self.nested.values()):
            self.leave(link.device.name)

    def join(self, device: Device) -> None:
        """A device behind this one is there."""
        if device.name not in self.nested:
            link = NestedLink(self, device)
            self.nested[device.name] = link
            self.api.sessions.add(device.id, link.session_id, link)
            self.api.presence.opened(device)
            self.api.wake(device.id)

    def leave(self, name: str) -> None:
        link = self.nested.pop(name, None)
        if link is not None:
            self.api.sessions.remove(link.device.id, link.session_id, link)
            self.api.presence.closed(link.device)

    def subscribed(self) -> None:
        """Subscriptions came or a session was resumed: what waits is sent."""
        if self.wants_commands():
            self.api.wake(self.device.id)
        if self.session_wants(What.GATEWAY_RPC):
            for link in self.nested.values():
                self.api.wake(link.device.id)

    def reads_again(self) -> None:
        """What was not sent while the client did not read is sent."""
        withheld, self._withheld = self._withheld, set()
        for device_id in withheld:
            self.api.wake(device_id)

    def takes_command(self, device_id: str, what: What) -> bool:
        """Whether this device, or one behind it, wants commands and the client reads. One that
        does not read is asked for again later: its commands wait where they are kept."""
        if not self.session_wants(what):
            return False
        if self._writer.is_read and not self._handover.full:
            return True
        self._withheld.add(device_id)
        return False

    def called(self, call_id: int, prefix: str) -> None:
        """Remember in which spelling a call came, until it is answered."""
        if len(self._calls) >= _MOST_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[call_id] = prefix

    def not_served(self, what: What, text: str) -> None:
        """It is told once of each connection: a device may ask without end."""
        if what not in self._not_served:
            self._not_served.add(what)
            log.info("device %s: %s", self.device.name, text)

    def session_wants(self, what: What) -> bool:
        return self._session.target(what) is not None

    def publish(
        self,
        what: What,
        text: str,
        *,
        prefix: str = "",
        number: int | None = None,
        acknowledged: Acknowledged | None = None,
        lost: Callable[[], None] | None = None,
        wanted: Wanted | None = None,
    ) -> Handed:
        """Nothing is sent where the client did not subscribe. ``acknowledged`` is called when
        the client has it, of QoS 0 when its system has; ``lost`` when that will never be
        known."""
        target = self._session.target(what, prefix)
        if target is None:
            return Handed.REFUSED
        topic, qos = target
        if number is not None:
            topic += str(number)
        data = self._session.kept.outbox.send(topic, text.encode(), qos, acknowledged, wanted)
        if data is None:
            return Handed.REFUSED
        if data:
            self._writer.write_down(data)
        if not qos and acknowledged is not None and lost is not None:
            self._handover.watch(acknowledged, lost)
        return Handed.SENT

    # --- DeviceLink

    @property
    def owner(self) -> object:
        return self._session.kept

    def wants_attributes(self) -> bool:
        return self.session_wants(What.ATTRIBUTES)

    def wants_commands(self) -> bool:
        return self.takes_command(self.device.id, What.COMMAND)

    def attributes(self, updates: Mapping[str, object], deletes: Sequence[str]) -> None:
        for body in bodies(updates, deletes):
            self.publish(What.ATTRIBUTES, to_text(body))

    def command(self, request_id: int, command: Command) -> Handed:
        device_id, desk = self.device.id, self.api.desk
        return self.publish(
            What.COMMAND,
            f'{{"method":{to_text(command.method)},"params":{command.params}}}',
            number=request_id,
            acknowledged=lambda: desk.delivered(device_id, request_id),
            lost=lambda: desk.unsure(device_id, request_id),
            wanted=lambda: desk.wants(device_id, request_id),
        )

    def answer(self, call_id: int, data: str) -> None:
        prefix = self._calls.pop(call_id, None)
        if prefix is not None:
            self.publish(What.CALL_RESPONSE, data, prefix=prefix, number=call_id)


class NestedLink:
    """A DeviceLink of a device behind a gateway."""

    def __init__(self, down: Downlink, device: Device) -> None:
        self.device = device
        self.session_id = down.api.context.ids.next()
        self._down = down

    @property
    def owner(self) -> object:
        return self._down.owner

    def wants_attributes(self) -> bool:
        return self._down.session_wants(What.GATEWAY_ATTRIBUTES)

    def wants_commands(self) -> bool:
        return self._down.takes_command(self.device.id, What.GATEWAY_RPC)

    def attributes(self, updates: Mapping[str, object], deletes: Sequence[str]) -> None:
        for body in bodies(updates, deletes):
            text = to_text({"device": self.device.name, "data": body})
            self._down.publish(What.GATEWAY_ATTRIBUTES, text)

    def command(self, request_id: int, command: Command) -> Handed:
        device_id, desk = self.device.id, self._down.api.desk
        data = {
            "id": request_id,
            "method": command.method,
            "params": orjson.Fragment(command.params),
        }
        return self._down.publish(
            What.GATEWAY_RPC,
            to_text({"device": self.device.name, "data": data}),
            acknowledged=lambda: desk.delivered(device_id, request_id),
            lost=lambda: desk.unsure(device_id, request_id),
            wanted=lambda: desk.wants(device_id, request_id),
        )

    def answer(self, call_id: int, data: str) -> None:
        """Devices behind a gateway do not call."""


def bodies(updates: Mapping[str, object], deletes: Sequence[str]) -> list[dict[str, object]]:
    """``{k: v}`` and ``{"deleted": [..]}``, each where there is something to tell."""
    told: list[dict[str, object]] = [dict(updates)] if updates else []
    return [*told, {"deleted": list(deletes)}] if deletes else told
