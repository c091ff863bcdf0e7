"""A message's body read as what its type says: points in time, key-values, keys.

Shapes and values are those of ``core.values``; what a device may send at most was the
gateway's to check. Every function raises InvalidPayload with a reason for a person; none
changes what it is given.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.message import RuleMessage
from edgeferry.core.values import attribute_values, check_depth, telemetry_points

TS_MAX: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; in microseconds it still fits a long."""


_VERSION_DIGITS: Final = 19


@dataclass(frozen=True, slots=True)
class _Limits:
    """What an encoder and a store can take; far above what a gateway lets in."""

    payload_bytes: int = 2**31
    keys_per_message: int = 2**31
    key_length: int = 8_192
    json_depth: int = 64


_LIMITS: Final = _Limits()


def parsed(message: RuleMessage) -> Any:
    """The body as JSON that can be written again."""
    text = message.data
    try:
        body = message.json
        if "NaN" in text or "Infinity" in text:
            json.loads(text, parse_constant=_refuse)
        if "\\u" in text:  # may spell half a character, which is no text
            json.dumps(body, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidPayload("the body is not JSON: nested too deeply") from None
    except UnicodeEncodeError:
        raise InvalidPayload("the body is not JSON: half a character in a text") from None
    except ValueError as error:
        raise InvalidPayload(f"the body is not JSON: {error}") from None
    if text.count("{") + text.count("[") > _LIMITS.json_depth:
        check_depth(body, _LIMITS)
    return body


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def data_ts(message: RuleMessage) -> int:
    """The time of the data: metadata ``ts``, else the message's own (ms)."""
    try:
        ts = message.data_ts
    except ValueError:
        ts = -1
    if not 0 <= ts <= TS_MAX:
        shown = message.metadata.get("ts", str(ts))[:40]
        raise InvalidPayload(f"metadata ts: {shown!r} is not a time in ms")
    return ts


def attribute_scope(message: RuleMessage, default: Scope) -> Scope:
    """Metadata ``scope`` if it is there."""
    text = message.metadata.get("scope")
    try:
        return Scope(text) if text else default
    except ValueError:
        known = ", ".join(Scope)
        raise InvalidPayload(f"metadata scope: {str(text)[:40]!r} is none of {known}") from None


def telemetry(message: RuleMessage, ts: int) -> list[TsPoint]:
    """``{k: v}`` at ``ts``, ``{ts, values}``, or an array of either; one point at least."""
    return _points(parsed(message), ts)


def updated_telemetry(message: RuleMessage, ts: int) -> list[TsPoint]:
    """Telemetry as a save through REST announces it: ``{"timeseries": [{ts, values}]}``;
    every other shape as ``telemetry``."""
    body = parsed(message)
    if type(body) is dict and len(body) == 1 and type(body.get("timeseries")) is list:
        body = body["timeseries"]
    return _points(body, ts)


def attributes(message: RuleMessage) -> dict[str, Value]:
    """A flat object, nulls left out; may be empty."""
    return attribute_values(parsed(message), _LIMITS)


def deleted_attributes(message: RuleMessage) -> list[str]:
    """The keys of ``{"attributes": [key, ...]}``."""
    body = parsed(message)
    keys = body.get("attributes") if type(body) is dict else None
    if type(keys) is not list or not keys or not all(type(key) is str and key for key in keys):
        raise InvalidPayload('deleted attributes want {"attributes": [key, ...]}')
    return keys


def versions(message: RuleMessage, keys: Iterable[str]) -> dict[str, int]:
    """Those that the attributes service gave, if the message says so: metadata ``version``, of
    all keys, or ``versions``, a JSON object by key. By them what comes over the link twice,
    by itself and through a chain, counts once."""
    text = message.metadata.get("version", "")
    if text.isascii() and text.isdigit() and len(text) < _VERSION_DIGITS:
        return dict.fromkeys(keys, int(text))
    try:
        told = json.loads(message.metadata.get("versions", "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    wanted = {key: told.get(key) for key in keys}
    return {
        key: version
        for key, version in wanted.items()
        if type(version) is int and 0 < version < 10 ** (_VERSION_DIGITS - 1)
    }


class DeletedValues(NamedTuple):
    """History with start_ts <= ts < end_ts (ms) is to go; the rest as ``TimeseriesDelete``."""

    keys: list[str]
    start_ts: int
    end_ts: int
    delete_latest: bool
    rewrite_latest: bool

    def text(self) -> str:
        """The JSON that it was read from."""
        return json.dumps(
            {
                "timeseries": self.keys,
                "startTs": self.start_ts,
                "endTs": self.end_ts,
                "deleteLatest": self.delete_latest,
                "rewriteLatestIfDeleted": self.rewrite_latest,
            }
        )


def deleted_timeseries(message: RuleMessage) -> DeletedValues:
    """Of ``{"timeseries": [key, ...], "startTs", "endTs"}``, with ``deleteLatest`` and
    ``rewriteLatestIfDeleted`` where they are not as a delete through REST has them."""
    body = parsed(message)
    keys = body.get("timeseries") if type(body) is dict else None
    if type(keys) is not list or not keys or not all(type(key) is str and key for key in keys):
        raise InvalidPayload('deleted values want {"timeseries": [key, ...], "startTs", "endTs"}')
    start, end = body.get("startTs"), body.get("endTs")
    latest = body.get("deleteLatest", True)
    rewrite = body.get("rewriteLatestIfDeleted", False)
    if not all(type(ts) is int and 0 <= ts < 2**63 for ts in (start, end)):
        raise InvalidPayload("startTs and endTs: times in ms are wanted")
    if type(latest) is not bool or type(rewrite) is not bool:
        raise InvalidPayload("deleteLatest and rewriteLatestIfDeleted are true or false")
    return DeletedValues(keys, start, end, latest, rewrite)


def _points(body: Any, ts: int) -> list[TsPoint]:
    found = telemetry_points(body, ts, _LIMITS)
    if not found:
        raise InvalidPayload("the body has no values")
    return found
