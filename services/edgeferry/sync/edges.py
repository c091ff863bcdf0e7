"""The Cloud's list of edges: who may connect."""

import hashlib
import hmac
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from edgeferry.core.errors import InvalidSettings, Never
from edgeferry.core.ids import new_entity_id, new_secret, new_token
from edgeferry.files.lock import changing
from edgeferry.files.whole import write_whole
from edgeferry.sync.recovery import is_edge_id

_NAME_MAX = 255
_LEAST_GIVEN = 16
"""Characters of a key or secret that somebody chose."""


@dataclass(frozen=True, slots=True)
class Edge:
    """``secret_hash``: HMAC-SHA256 of the secret with the file's own key, in hex."""

    id: str
    name: str
    key: str
    secret_hash: str


class NotAdmitted(Never):
    """Someone who may not connect; the text says why, for the operator of the Edge. Keys are
    random, so that one is known or not tells nobody anything."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """The file's content. revoked: key -> name of edges that were removed; returning: name ->
    id and key of those of them that come back as what they were."""

    hash_key: bytes
    edges: list[Edge] = field(default_factory=list)
    revoked: dict[str, str] = field(default_factory=dict)
    returning: dict[str, tuple[str, str]] = field(default_factory=dict)


class Edges:
    """The edges of a file; read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._listed = _Listed(b"")
        self._by_key: dict[str, Edge] = {}

    def admit(self, key: str, secret: str) -> Edge:
        """The edge. Raises NotAdmitted; InvalidSettings when the file cannot be read."""
        self._refresh()
        edge = self._by_key.get(key)
        expected = edge.secret_hash if edge else ""
        matches = hmac.compare_digest(_secret_hash(self._listed.hash_key, secret), expected)
        if edge is not None and matches:
            return edge
        raise NotAdmitted(self._why_not(key, edge))

    def all(self) -> list[Edge]:
        """Raises InvalidSettings when the file cannot be read."""
        self._refresh()
        return list(self._by_key.values())

    def _why_not(self, key: str, edge: Edge | None) -> str:
        if edge is not None:
            return (
                f"the secret of edge {edge.name!r} is wrong, or not right any more: `edgeferry "
                f"edges rotate {shlex.quote(edge.name)}` in the Cloud makes a new one and prints "
                "the command that gives it to this Edge"
            )
        if key in self._listed.revoked:
            name = self._listed.revoked[key]
            return (
                f"edge {name!r} was removed in the Cloud: `edgeferry edges add "
                f"{shlex.quote(name)}` there admits it again and prints the command by which it "
                "goes on here"
            )
        return (
            f"no edge has the key {key!r}: take it from `edgeferry edges list` in the Cloud, or "
            "admit this Edge there with `edgeferry edges add`"
        )

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._read, self._by_key = None, {}
            return
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._read:
            self._listed = _load(self._path)
            self._by_key = {edge.key: edge for edge in self._listed.edges}
            self._read = seen


def add_edge(path: Path, name: str, key: str = "", secret: str = "") -> tuple[Edge, str]:
    """Add an edge to the file (made when missing, mode 0600) and return it with its
    secret, which is kept nowhere. Key and secret are made where none is given. One that was
    removed and may come back has its id and key again, with all that is assigned to it and that
    waits; only its secret is another.
    Raises InvalidSettings for a name or key that is taken, blank or too long, and a short
    secret."""
    if not (name.strip() and name.isprintable()):
        raise InvalidSettings(f"an edge cannot be named {name[:40]!r}: give it a printable name")
    if len(name) > _NAME_MAX:
        raise InvalidSettings(
            f"an edge cannot be named {name[:40]!r}...: give it a name of at most {_NAME_MAX} "
            "characters"
        )
    for what, given in (("routing key", key), ("secret", secret)):
        if given and not (_LEAST_GIVEN <= len(given) <= _NAME_MAX and _is_plain(given)):
            raise InvalidSettings(
                f"the {what} of an edge has {_LEAST_GIVEN} to {_NAME_MAX} printable ASCII "
                "characters without spaces: leave it out to have one made"
            )
    with changing(path):
        listed = _load(path) if path.exists() else _Listed(bytes.fromhex(new_secret()))
        if key in listed.revoked or any(edge.key == key for edge in listed.edges):
            raise InvalidSettings("an edge has or had this routing key: choose another")
        if any(edge.name == name for edge in listed.edges):
            raise InvalidSettings(
                f"{path}: an edge named {name!r} is there already: choose another"
            )
        secret = secret or new_secret()
        secret_hash = _secret_hash(listed.hash_key, secret)
        id_, its_key = listed.returning.get(name) or (new_entity_id(), new_token())
        edge = Edge(id_, name, key or its_key, secret_hash)
        returning = {other: its for other, its in listed.returning.items() if other != name}
        revoked = {other: its for other, its in listed.revoked.items() if other != edge.key}
        edges = [*listed.edges, edge]
        _write(path, replace(listed, edges=edges, revoked=revoked, returning=returning))
    return edge, secret


def rotate_secret(path: Path, name: str) -> tuple[Edge, str]:
    """Give an edge a new secret, which is kept nowhere; the one before is good no longer.

    Raises InvalidSettings when there is no such edge."""
    with changing(path):
        listed, edge = _found(path, name)
        secret = new_secret()
        rotated = replace(edge, secret_hash=_secret_hash(listed.hash_key, secret))
        edges = [rotated if each is edge else each for each in listed.edges]
        _write(path, replace(listed, edges=edges))
    return rotated, secret


def remove_edge(path: Path, name: str, for_good: bool = False) -> Edge:
    """Admit an edge no longer; what it has sent stays. ``for_good``: one that is added with its
    name is another one. Raises InvalidSettings when there is no such edge."""
    with changing(path):
        listed, edge = _found(path, name)
        edges = [each for each in listed.edges if each is not edge]
        revoked = {**listed.revoked, edge.key: edge.name}
        back = {} if for_good else {edge.name: (edge.id, edge.key)}
        returning = {**listed.returning, **back}
        _write(path, replace(listed, edges=edges, revoked=revoked, returning=returning))
    return edge


def take_back_edge(path: Path, name: str) -> None:
    """Of one that was added just now: whoever asks for it again gets it, with any key. Raises
    InvalidSettings when there is no such edge."""
    with changing(path):
        listed, edge = _found(path, name)
        edges = [each for each in listed.edges if each is not edge]
        returning = {**listed.returning, edge.name: (edge.id, edge.key)}
        _write(path, replace(listed, edges=edges, returning=returning))


def may_return(path: Path, name: str) -> bool:
    """Whether an edge of this name was removed and would be the same again. Raises
    InvalidSettings when the file cannot be read."""
    return path.exists() and name in _load(path).returning


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _found(path: Path, name: str) -> tuple[_Listed, Edge]:
    listed = _load(path) if path.exists() else _Listed(b"")
    for edge in listed.edges:
        if edge.name == name:
            return listed, edge
    raise InvalidSettings(f"no edge is named {name!r} in {path}: `edgeferry edges list` shows them")


def _secret_hash(hash_key: bytes, secret: str) -> str:
    # A keyed hash, not a slow one: secrets are random 256 bits, and slow hashes would
    # make a hundred thousand edges that reconnect wait for hours.
    return hmac.new(hash_key, secret.encode(), hashlib.sha256).hexdigest()


def _load(path: Path) -> _Listed:
    try:
        parsed = json.loads(path.read_text())
        return _Listed(
            bytes.fromhex(parsed["hash_key"]),
            [_edge(row) for row in parsed["edges"]],
            dict(parsed.get("revoked", {})),
            _returning(parsed.get("returning", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidSettings(
            f"{path}: not a list of edges ({error}): restore it, or remove it and add the "
            "edges again"
        ) from error


def _edge(row: Mapping[str, str]) -> Edge:
    edge = Edge(**row)
    if not is_edge_id(edge.id.encode()):
        raise ValueError(f"the id {edge.id!r} of edge {edge.name!r} is no UUID")
    return edge


def _returning(rows: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    for name, (id_, _) in rows.items():
        if not is_edge_id(id_.encode()):
            raise ValueError(f"the id {id_!r} of the removed edge {name!r} is no UUID")
    return {name: (id_, key) for name, (id_, key) in rows.items()}


def _write(path: Path, listed: _Listed) -> None:
    document = {
        "hash_key": listed.hash_key.hex(),
        "edges": [asdict(edge) for edge in listed.edges],
        "revoked": listed.revoked,
        "returning": listed.returning,
    }
    write_whole(path, json.dumps(document, indent=2).encode() + b"\n", 0o600)
