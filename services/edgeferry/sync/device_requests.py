"""Calls of devices (TO_SERVER_RPC_REQUEST) on their way up, and their answers on the way down.

Both are events of action RPC_CALL that name no ``requestUUID``, which every command to a
device has. A call says which session of which gateway made it; its answer says that again.
"""

import json
from typing import Any, Final, NamedTuple

import orjson

from edgeferry.core.errors import Undecodable
from edgeferry.sync.quick_events import json_fragment

_ADDRESS: Final = ("requestId", "serviceId", "sessionId")


class DeviceRequest(NamedTuple):
    """A device's call. metadata: whose it is. data: JSON text, method and params."""

    metadata: dict[str, str]
    data: str


class DeviceResponse(NamedTuple):
    """The answer to one. data: its text."""

    metadata: dict[str, str]
    data: str


def request_of(rpc: str | None) -> DeviceRequest | None:
    """None: the event is about a command to a device. Raises Undecodable."""
    told = _told(rpc)
    if "requestUUID" in told:
        return None
    method, params = told.get("method"), told.get("params", "null")
    if not isinstance(method, str) or not isinstance(params, str):
        raise Undecodable("a device's call has a method, and params as JSON text")
    try:
        data = orjson.dumps({"method": method, "params": json_fragment(params)}).decode()
    except ValueError as error:
        raise Undecodable(f"params of a device's call: {error}") from error
    return DeviceRequest(_address(told), data)


def response_of(rpc: str | None) -> DeviceResponse | None:
    """None: the event is about a command to a device. Raises Undecodable."""
    told = _told(rpc)
    if "requestUUID" in told:
        return None
    response, address = told.get("response"), _address(told)
    if not isinstance(response, str) or len(address) < len(_ADDRESS):
        raise Undecodable("an answer to a device's call says whose it is, and a response as text")
    return DeviceResponse(address, response)


def _told(rpc: str | None) -> dict[str, Any]:
    try:
        told = json.loads(rpc or "")
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"a call is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise Undecodable("a call is no JSON object")
    return told


def _address(told: dict[str, Any]) -> dict[str, str]:
    """What is there of it."""
    return {name: str(told[name]) for name in _ADDRESS if told.get(name) is not None}
