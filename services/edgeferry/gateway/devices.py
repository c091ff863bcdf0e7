"""Devices and their access tokens, and the JSON file from which a site takes over those that
it does not know at its start.

    {"devices": [{"name": "pump-1", "id": "<version-1 UUID>", "profile": "pump", "token": "..."}]}

``"gateway": true`` beside these says that it speaks for devices behind it. The file is private
to its owner (mode 0600) and replaced as a whole.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.credentials import MAX_TOKEN_LENGTH, is_token
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import new_entity_id, new_token
from edgeferry.files.lock import changing
from edgeferry.files.whole import write_whole

DEFAULT_PROFILE = "default"
_FIELDS = ("name", "id", "profile", "token")
_GATEWAY = "gateway"
"""May be left out."""


@dataclass(frozen=True, slots=True)
class Device:
    """``id`` is a version-1 UUID (a Cassandra timeuuid); ``token``: its access token, or the id
    of its other credentials; ``gateway``: it may speak for devices behind it."""

    name: str
    id: str
    profile: str
    token: str
    gateway: bool = False


def read_devices(path: Path) -> tuple[Device, ...]:
    """All devices of the file, () when there is none. Raises InvalidSettings with all problems."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeError) as error:
        raise InvalidSettings(f"devices file {path} cannot be read: {error}") from error
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidSettings(f"devices file {path} is not JSON: {error}") from error
    problems = list(_document_problems(document))
    if problems:
        raise InvalidSettings("\n".join(f"devices file {path}: {line}" for line in problems))
    return tuple(Device(**row) for row in document["devices"])


def add_device(
    path: Path,
    name: str,
    profile: str = DEFAULT_PROFILE,
    token: str | None = None,
    *,
    gateway: bool = False,
) -> Device:
    """Add a device with a new id, and a new token unless one is given.

    Raises InvalidSettings when the name or token is taken or not allowed.
    """
    with changing(path):
        devices = read_devices(path)
        _check_free(devices, name, token, path)
        given = new_token() if token is None else token
        device = Device(name, new_entity_id(), profile, given, gateway)
        _write(path, (*devices, device))
    return device


def _check_free(devices: Sequence[Device], name: str, token: str | None, path: Path) -> None:
    """Raises InvalidSettings."""
    for device in devices:
        if device.name == name:
            raise InvalidSettings(
                f"there is a device named {name!r} in {path} already, with id {device.id}: "
                "choose another name"
            )
        if device.token == token:
            raise InvalidSettings(
                f"device {device.name!r} in {path} has this token: choose another one"
            )


def _write(path: Path, devices: Sequence[Device]) -> None:
    rows = [
        {field: getattr(device, field) for field in _FIELDS}
        | ({_GATEWAY: True} if device.gateway else {})
        for device in devices
    ]
    document = {"devices": rows}
    problems = list(_document_problems(document))
    if problems:
        raise InvalidSettings("\n".join(problems))
    text = json.dumps(document, indent=2) + "\n"
    write_whole(path, text.encode(), 0o600)


def _document_problems(document: object) -> Iterable[str]:
    rows = document.get("devices") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(rows, list) or len(document) != 1:
        yield 'one object is wanted: {"devices": [{"name", "id", "profile", "token"}, ...]}'
        return
    seen: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        yield from (f"devices[{index}]{line}" for line in _row_problems(row))
        for field in ("name", "id", "token"):
            value = row.get(field) if isinstance(row, dict) else None
            if isinstance(value, str):
                first = seen.setdefault((field, value), index)
                if first != index:
                    yield f"devices[{index}].{field}: the same as that of devices[{first}]"


def _row_problems(row: object) -> Iterable[str]:
    if not isinstance(row, Mapping):
        yield ": an object is wanted"
        return
    for field in row:
        if field not in (*_FIELDS, _GATEWAY):
            yield f": unknown field {field!r}; there are {', '.join((*_FIELDS, _GATEWAY))}"
    if not isinstance(row.get(_GATEWAY, False), bool):
        yield f".{_GATEWAY}: true or false is wanted"
    for field in _FIELDS:
        value = row.get(field)
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            yield f".{field}: printable text that is not blank is wanted"
        elif field == "id" and not _is_time_uuid(value):
            yield f".id: a version-1 UUID is wanted, not {value[:40]!r}"
        elif field == "token" and not is_token(value):
            yield (
                f".token: at most {MAX_TOKEN_LENGTH} printable characters without spaces "
                f"and '/' are wanted"
            )


def _is_time_uuid(text: str) -> bool:
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return False
    return parsed.version == 1 and str(parsed) == text
