"""The Cloud's list of edges."""

import json
from pathlib import Path

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.sync.edges import Edges, add_edge


def test_an_edge_is_known_by_key_and_secret_only(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    edge, secret = add_edge(path, "one")
    edges = Edges(path)
    assert edges.authenticate(edge.key, secret) == edge
    assert edges.authenticate(edge.key, secret + "x") is None
    assert edges.authenticate(edge.key, "") is None
    assert edges.authenticate("", "") is None


def test_an_edge_added_later_is_known_at_once(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    edges = Edges(path)
    assert edges.all() == []
    edge, secret = add_edge(path, "one")
    other, other_secret = add_edge(path, "two")
    assert edges.authenticate(other.key, other_secret) == other
    assert edges.authenticate(edge.key, secret) == edge
    assert edges.authenticate(edge.key, other_secret) is None


def test_the_secret_stands_nowhere_and_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    _, secret = add_edge(path, "one")
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_is_given_once(tmp_path: Path) -> None:
    add_edge(tmp_path / "edges.json", "one")
    with pytest.raises(InvalidSettings, match="'one'"):
        add_edge(tmp_path / "edges.json", "one")


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"hash_key": "zz", "edges": []})])
def test_a_broken_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edges.json"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match="restore it"):
        Edges(path).all()
