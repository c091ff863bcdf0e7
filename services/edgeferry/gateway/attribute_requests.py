"""A device asks for its own attributes: those of its client, and those shared with it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import Scope, Value
from edgeferry.core.message import EntityType
from edgeferry.gateway.ports import AttributesReader

Keys = Sequence[str] | None
"""None: all of them."""


class Wanted(NamedTuple):
    """A scope that is False is not asked for."""

    client: Keys | bool
    shared: Keys | bool


def wanted(client_keys: object, shared_keys: object) -> Wanted:
    """Of texts with commas; with none of either, everything. Raises InvalidPayload."""
    client, shared = _keys(client_keys), _keys(shared_keys)
    if not client and not shared:
        return Wanted(None, None)
    return Wanted(client or False, shared or False)


async def read(
    reader: AttributesReader, device_id: str, request: Wanted
) -> dict[str, dict[str, Value]]:
    """``{"client": {..}, "shared": {..}}``, each where asked for. Raises StoreUnavailable."""
    found: dict[str, dict[str, Value]] = {}
    for name, scope, keys in (
        ("client", Scope.CLIENT, request.client),
        ("shared", Scope.SHARED, request.shared),
    ):
        if isinstance(keys, bool):
            continue
        rows = await reader.attributes(str(EntityType.DEVICE), device_id, scope, keys)
        found[name] = {row.key: row.value for row in rows}
    return found


def read_nested(body: Mapping[str, object]) -> tuple[int, Wanted]:
    """Of a gateway's ``{id, device, client, key or keys}``. Raises InvalidPayload."""
    call_id, client = body.get("id"), body.get("client", False)
    if not isinstance(call_id, int) or isinstance(call_id, bool):
        raise InvalidPayload("id: a number is wanted")
    if not isinstance(client, bool):
        raise InvalidPayload("client: true or false is wanted")
    keys = body.get("keys", [body["key"]] if "key" in body else None)
    if keys is not None and not (
        isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
    ):
        raise InvalidPayload("key (a text) or keys (a list of texts) is wanted")
    return call_id, Wanted(keys, False) if client else Wanted(False, keys)


def _keys(given: object) -> list[str]:
    if given is None:
        return []
    if not isinstance(given, str):
        raise InvalidPayload("clientKeys and sharedKeys: texts with commas are wanted")
    return [key.strip() for key in given.split(",") if key.strip()]
