"""Publishes of a connection's device, by topic."""

from collections.abc import Iterable
from typing import Final

from edgeferry.core.admission import Lane
from edgeferry.core.errors import InvalidPayload, PayloadTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.gateway.attribute_requests import Wanted, read_nested, wanted
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device
from edgeferry.gateway.mqtt.downlink import Downlink
from edgeferry.gateway.mqtt.packets import Reason
from edgeferry.gateway.payload import read_document, to_text
from edgeferry.gateway.ports import Handed
from edgeferry.gateway.topics import Published, What, published

NO_PACKAGE: Final = "NOT_FOUND"
_NOT_HERE: Final = {
    What.CLAIM: "claiming of devices is not supported",
    What.PROVISION: "who logs in as a device has its credentials; to get some, connect with the "
    "user name 'provision'",
}
_TELEMETRY: Final = (What.TELEMETRY, What.GATEWAY_TELEMETRY)


class UnknownTopic(InvalidPayload):
    """A publish to a topic that is not ours."""


class NotSupported(UnknownTopic):
    """A topic of the field's servers that this one does not serve: nothing is kept of it."""


class NoGateway(UnknownTopic):
    """A topic of gateways, from a device that is none."""


class Unresolved(Exception):
    """Devices behind a gateway have to be found first: name and profile of each."""

    def __init__(self, wanted: list[tuple[str, str]]) -> None:
        super().__init__()
        self.wanted = wanted


def take(down: Downlink, topic: str, payload: bytes) -> list[Outgoing]:
    """The records of a publish, to be durable before its acknowledgement.

    Raises InvalidPayload, Unresolved (nothing was done; try again when they are found),
    NotYet."""
    found = published(topic)
    if found is None:
        raise UnknownTopic(f"{topic[:100]!r} is not a topic that devices publish to")
    device, api = down.device, down.api
    match found.what:
        case What.TELEMETRY:
            return api.records.telemetry(device, payload)
        case What.ATTRIBUTES:
            return api.records.attributes(device, payload)
        case What.ATTRIBUTES_REQUEST:
            return _attributes_request(down, found, payload)
        case What.COMMAND_RESPONSE:
            return api.command_answer(device.id, found.request_id, payload)
        case What.CALL:
            return _call(down, found, payload)
        case What.CLAIM | What.PROVISION:
            text = f"{topic}: {_NOT_HERE[found.what]}"
            down.not_served(found.what, text)
            raise NotSupported(text)
        case What.FIRMWARE | What.SOFTWARE:
            return _package(down, found.what)
        case _:
            return _of_gateway(down, found.what, payload)


async def resolve(down: Downlink, error: Unresolved) -> None:
    """Find the devices and take them in. Raises InvalidPayload, Later."""
    nested = down.api.context.ports.nested
    if nested is None:
        raise NotSupported("devices behind a gateway are not served here")
    most = down.api.context.devices_per_gateway
    for name, profile in error.wanted:
        if len(down.nested) >= most and name not in down.nested:
            raise InvalidPayload(
                f"at most {most} devices at once are behind one connection of a gateway "
                "(limits.devices_per_gateway): take leave of others by v1/gateway/disconnect"
            )
        down.join(await nested.nested(down.device, name, profile))


def _attributes_request(down: Downlink, found: Published, payload: bytes) -> list[Outgoing]:
    body = _object(down, payload)
    request = wanted(body.get("clientKeys"), body.get("sharedKeys"))

    async def answer() -> None:
        text = await down.api.attributes_or_error(down.device.id, request)
        down.publish(What.ATTRIBUTES_RESPONSE, text, prefix=found.answer, number=found.request_id)

    down.api.questions.ask(down.device.id, answer)
    return []


def _call(down: Downlink, found: Published, payload: bytes) -> list[Outgoing]:
    answer, records = down.api.call(down.device, down.session_id, found.request_id, payload)
    down.called(found.request_id, found.answer)
    if answer is not None:
        down.answer(found.request_id, answer)
    return records


def _package(down: Downlink, what: What) -> list[Outgoing]:
    """The answer of a ThingsBoard that has none for the device, which tells so of software in
    the topic of firmware."""
    down.not_served(what, f"there is no {what.name.lower()} for devices here")
    if what is What.FIRMWARE or down.publish(What.SOFTWARE_ERROR, NO_PACKAGE) is Handed.REFUSED:
        down.publish(What.FIRMWARE_ERROR, NO_PACKAGE)
    return []


def _of_gateway(down: Downlink, what: What, payload: bytes) -> list[Outgoing]:
    if not down.device.gateway:
        raise NoGateway(
            f"device {down.device.name!r} is no gateway: it is one with gateway: true in its "
            "additionalInfo (edgeferry devices add --gateway, or REST)"
        )
    body = _object(down, payload)
    if what in (What.GATEWAY_TELEMETRY, What.GATEWAY_ATTRIBUTES):
        devices = _devices(down, [(name, DEFAULT_PROFILE) for name in body])
        records = down.api.records
        make = records.telemetry if what is What.GATEWAY_TELEMETRY else records.attributes
        parts = (make(device, to_text(body[device.name]).encode()) for device in devices)
        return [record for part in parts for record in part]
    name = body.get("device")
    if not isinstance(name, str) or not name:
        raise InvalidPayload("device: the name of a device is wanted")
    if what is What.GATEWAY_DISCONNECT:
        down.leave(name)
        return []
    profile = body.get("type", DEFAULT_PROFILE)
    if not isinstance(profile, str) or not profile:
        raise InvalidPayload("type: the name of a device profile is wanted")
    (device,) = _devices(down, [(name, profile)])
    if what is What.GATEWAY_RPC:
        number = body.get("id")
        if not isinstance(number, int) or isinstance(number, bool):
            raise InvalidPayload("id: the number of the command is wanted")
        return down.api.command_answer(device.id, number, to_text(body.get("data")).encode())
    if what is What.GATEWAY_ATTRIBUTES_REQUEST:
        call_id, request = read_nested(body)
        single = "key" in body
        down.api.questions.ask(
            down.device.id, lambda: _nested_attributes(down, device, call_id, request, single)
        )
    return []


async def _nested_attributes(
    down: Downlink, device: Device, call_id: int, request: Wanted, single: bool
) -> None:
    text = await down.api.attributes_or_error(device.id, request)
    found = read_document(text.encode(), down.api.context.limits)
    assert isinstance(found, dict)
    answer: dict[str, object] = {"id": call_id, "device": device.name}
    if "error" in found:
        answer |= found
    else:
        (values,) = found.values()
        if not single:
            answer["values"] = values
        elif values:
            (answer["value"],) = values.values()
    down.publish(What.GATEWAY_ATTRIBUTES_RESPONSE, to_text(answer))


def _devices(down: Downlink, names: Iterable[tuple[str, str]]) -> list[Device]:
    """Raises Unresolved."""
    names = list(names)
    unknown = [(name, profile) for name, profile in names if name not in down.nested]
    if unknown:
        raise Unresolved(unknown)
    devices = [down.nested[name].device for name, _ in names]
    for device in devices:
        down.api.presence.seen(device)
    return devices


def _object(down: Downlink, payload: bytes) -> dict[str, object]:
    body = read_document(payload, down.api.context.limits)
    if not isinstance(body, dict):
        raise InvalidPayload("a JSON object is wanted")
    return body


def lane_of(topic: str) -> Lane:
    found = published(topic)
    return "telemetry" if found is not None and found.what in _TELEMETRY else "general"


def refusal_of(error: InvalidPayload) -> tuple[str, Reason]:
    """A word for the metrics and the reason for an MQTT 5 client."""
    if isinstance(error, UnknownTopic):
        return "topic", Reason.TOPIC_NAME_INVALID
    if isinstance(error, PayloadTooLarge):
        return "too_large", Reason.PAYLOAD_FORMAT_INVALID
    return "payload", Reason.PAYLOAD_FORMAT_INVALID
