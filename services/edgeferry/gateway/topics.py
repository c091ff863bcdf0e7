"""The topics of devices (semantics of the field, 7.3): one table for publishes and one for
subscriptions. Everything else is refused."""

from enum import Enum
from typing import Final, NamedTuple


class What(Enum):
    """What a topic is for, whatever its spelling."""

    TELEMETRY = "telemetry"
    ATTRIBUTES = "attributes"
    ATTRIBUTES_REQUEST = "request of attributes"
    ATTRIBUTES_RESPONSE = "attributes that were requested"
    COMMAND = "command to the device"
    COMMAND_RESPONSE = "answer of the device to a command"
    CALL = "call of the device"
    CALL_RESPONSE = "answer to a call of the device"
    CLAIM = "claiming"
    PROVISION = "a wish for credentials"
    PROVISION_RESPONSE = "credentials, or why there are none"
    FIRMWARE = "request of a part of a firmware"
    SOFTWARE = "request of a part of a software"
    FIRMWARE_PART = "a part of a firmware"
    SOFTWARE_PART = "a part of a software"
    FIRMWARE_ERROR = "why there is no firmware"
    SOFTWARE_ERROR = "why there is no software"
    GATEWAY_CONNECT = "a device behind the gateway is there"
    GATEWAY_DISCONNECT = "a device behind the gateway has left"
    GATEWAY_TELEMETRY = "telemetry of devices behind the gateway"
    GATEWAY_ATTRIBUTES = "attributes of devices behind the gateway"
    GATEWAY_ATTRIBUTES_REQUEST = "request for a device behind the gateway"
    GATEWAY_ATTRIBUTES_RESPONSE = "attributes of a device behind the gateway"
    GATEWAY_RPC = "commands to devices behind the gateway, and their answers"


class Published(NamedTuple):
    """A topic that a device published to. ``answer``: the prefix of the topic of the answer,
    in the spelling of the question."""

    what: What
    request_id: int = 0
    answer: str = ""


V1: Final = "v1/devices/me/"
GATEWAY: Final = "v1/gateway/"
PROVISION_REQUEST: Final = "/provision/request"
PROVISION_RESPONSE: Final = "/provision/response"

_PLAIN: Final = {
    topic: Published(what)
    for topic, what in {
        V1 + "telemetry": What.TELEMETRY,
        V1 + "attributes": What.ATTRIBUTES,
        "v2/t": What.TELEMETRY,
        "v2/t/j": What.TELEMETRY,
        "v2/a": What.ATTRIBUTES,
        "v2/a/j": What.ATTRIBUTES,
        GATEWAY + "connect": What.GATEWAY_CONNECT,
        GATEWAY + "disconnect": What.GATEWAY_DISCONNECT,
        GATEWAY + "telemetry": What.GATEWAY_TELEMETRY,
        GATEWAY + "attributes": What.GATEWAY_ATTRIBUTES,
        GATEWAY + "attributes/request": What.GATEWAY_ATTRIBUTES_REQUEST,
        GATEWAY + "rpc": What.GATEWAY_RPC,
        V1 + "claim": What.CLAIM,
        GATEWAY + "claim": What.CLAIM,
        PROVISION_REQUEST: What.PROVISION,
    }.items()
}
_NUMBERED: Final = {
    V1 + "attributes/request/": (What.ATTRIBUTES_REQUEST, V1 + "attributes/response/"),
    "v2/a/req/": (What.ATTRIBUTES_REQUEST, "v2/a/res/"),
    "v2/a/req/j/": (What.ATTRIBUTES_REQUEST, "v2/a/res/j/"),
    V1 + "rpc/response/": (What.COMMAND_RESPONSE, ""),
    "v2/r/res/": (What.COMMAND_RESPONSE, ""),
    "v2/r/res/j/": (What.COMMAND_RESPONSE, ""),
    V1 + "rpc/request/": (What.CALL, V1 + "rpc/response/"),
    "v2/r/req/": (What.CALL, "v2/r/res/"),
    "v2/r/req/j/": (What.CALL, "v2/r/res/j/"),
}
_PACKAGES: Final = {"v2/fw/request": What.FIRMWARE, "v2/sw/request": What.SOFTWARE}
SUBSCRIBABLE: Final = {
    V1 + "attributes": What.ATTRIBUTES,
    "v2/a": What.ATTRIBUTES,
    "v2/a/j": What.ATTRIBUTES,
    V1 + "attributes/response/+": What.ATTRIBUTES_RESPONSE,
    "v2/a/res/+": What.ATTRIBUTES_RESPONSE,
    "v2/a/res/j/+": What.ATTRIBUTES_RESPONSE,
    V1 + "rpc/request/+": What.COMMAND,
    "v2/r/req/+": What.COMMAND,
    "v2/r/req/j/+": What.COMMAND,
    V1 + "rpc/response/+": What.CALL_RESPONSE,
    "v2/r/res/+": What.CALL_RESPONSE,
    "v2/r/res/j/+": What.CALL_RESPONSE,
    GATEWAY + "attributes": What.GATEWAY_ATTRIBUTES,
    GATEWAY + "attributes/response": What.GATEWAY_ATTRIBUTES_RESPONSE,
    GATEWAY + "rpc": What.GATEWAY_RPC,
    "v2/fw/response/+/chunk/+": What.FIRMWARE_PART,
    "v2/sw/response/+/chunk/+": What.SOFTWARE_PART,
    "v2/fw/error": What.FIRMWARE_ERROR,
    "v2/sw/error": What.SOFTWARE_ERROR,
}
"""Filters that are granted, as they stand: no other wildcards."""
FOR_NEWCOMERS: Final = {PROVISION_RESPONSE: What.PROVISION_RESPONSE}
"""The same of clients that have no credentials yet."""

LONGEST_TOPIC: Final = 128
"""Above it no topic means anything here, and nothing needs to be remembered of it."""
_LONGEST_ID: Final = 10
MAX_REQUEST_ID: Final = 2**31 - 1


def published(topic: str) -> Published | None:
    """What a publish to this topic means, None where it means nothing here."""
    plain = _PLAIN.get(topic)
    if plain is not None:
        return plain
    prefix, slash, number = topic.rpartition("/")
    numbered = _NUMBERED.get(prefix + slash)
    if numbered is None or not _is_id(number):
        return _package(topic)
    what, answer = numbered
    return Published(what, int(number), answer)


def _package(topic: str) -> Published | None:
    """Of ``v2/fw/request/ID/chunk/N``."""
    levels = topic.split("/")
    if len(levels) != 6 or levels[4] != "chunk" or not (_is_id(levels[3]) and _is_id(levels[5])):
        return None
    what = _PACKAGES.get("/".join(levels[:3]))
    return Published(what, int(levels[3])) if what is not None else None


def _is_id(text: str) -> bool:
    short = 0 < len(text) <= _LONGEST_ID
    return short and text.isascii() and text.isdigit() and int(text) <= MAX_REQUEST_ID
