"""The Cloud's list of edges: who may connect."""

import hashlib
import hmac
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import new_entity_id, new_secret, new_token


@dataclass(frozen=True, slots=True)
class Edge:
    """``secret_hash``: HMAC-SHA256 of the secret with the file's own key, in hex."""

    id: str
    name: str
    key: str
    secret_hash: str


class Edges:
    """The edges of a file; read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._hash_key = b""
        self._by_key: dict[str, Edge] = {}

    def authenticate(self, key: str, secret: str) -> Edge | None:
        """The edge, or None for an unknown key and for a wrong secret alike.

        Raises InvalidSettings when the file cannot be read."""
        self._refresh()
        edge = self._by_key.get(key)
        expected = edge.secret_hash if edge else ""
        matches = hmac.compare_digest(_secret_hash(self._hash_key, secret), expected)
        return edge if matches else None

    def all(self) -> list[Edge]:
        """Raises InvalidSettings when the file cannot be read."""
        self._refresh()
        return list(self._by_key.values())

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._read, self._by_key = None, {}
            return
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._read:
            self._hash_key, edges = _load(self._path)
            self._by_key = {edge.key: edge for edge in edges}
            self._read = seen


def add_edge(path: Path, name: str) -> tuple[Edge, str]:
    """Add an edge to the file (made when missing, mode 0600) and return it with its
    secret, which is kept nowhere. Raises InvalidSettings for a name that is taken."""
    hash_key, edges = _load(path) if path.exists() else (bytes.fromhex(new_secret()), [])
    if any(edge.name == name for edge in edges):
        raise InvalidSettings(f"{path}: an edge named {name!r} is there already: choose another")
    secret = new_secret()
    edge = Edge(new_entity_id(), name, new_token(), _secret_hash(hash_key, secret))
    _write(path, hash_key, [*edges, edge])
    return edge, secret


def _secret_hash(hash_key: bytes, secret: str) -> str:
    # A keyed hash, not a slow one: secrets are random 256 bits, and slow hashes would
    # make a hundred thousand edges that reconnect wait for hours.
    return hmac.new(hash_key, secret.encode(), hashlib.sha256).hexdigest()


def _load(path: Path) -> tuple[bytes, list[Edge]]:
    try:
        parsed = json.loads(path.read_text())
        return bytes.fromhex(parsed["hash_key"]), [Edge(**row) for row in parsed["edges"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidSettings(
            f"{path}: not a list of edges ({error}): restore it, or remove it and add the "
            "edges again"
        ) from error


def _write(path: Path, hash_key: bytes, edges: list[Edge]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"hash_key": hash_key.hex(), "edges": [asdict(edge) for edge in edges]}, indent=2
    )
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
