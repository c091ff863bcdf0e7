"""The Cloud's list of edges."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.sync.edges import (
    Edges,
    NotAdmitted,
    add_edge,
    may_return,
    remove_edge,
    rotate_secret,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "edges.json"


def test_an_edge_is_known_by_key_and_secret_only(path: Path) -> None:
    edge, secret = add_edge(path, "one")
    edges = Edges(path)
    assert edges.admit(edge.key, secret) == edge
    for wrong in (secret + "x", ""):
        with pytest.raises(NotAdmitted, match=r"the secret of edge 'one' is wrong.*rotate one"):
            edges.admit(edge.key, wrong)
    for key in ("", "nobody"):
        with pytest.raises(NotAdmitted, match=f"no edge has the key '{key}'.*edges add"):
            edges.admit(key, secret)


def test_an_edge_that_was_removed_for_good_is_another_one_when_its_name_comes_again(
    path: Path,
) -> None:
    edge, _ = add_edge(path, "one")
    remove_edge(path, "one", for_good=True)
    assert not may_return(path, "one")
    again, _ = add_edge(path, "one")
    assert (again.name, again.id != edge.id, again.key != edge.key) == ("one", True, True)


def test_an_edge_added_later_is_known_at_once(path: Path) -> None:
    edges = Edges(path)
    assert edges.all() == []
    edge, secret = add_edge(path, "one")
    other, other_secret = add_edge(path, "two")
    assert edges.admit(other.key, other_secret) == other
    assert edges.admit(edge.key, secret) == edge
    with pytest.raises(NotAdmitted):
        edges.admit(edge.key, other_secret)


def test_a_new_secret_ends_the_one_before(path: Path) -> None:
    edge, before = add_edge(path, "one")
    edges = Edges(path)
    assert edges.admit(edge.key, before) == edge
    rotated, secret = rotate_secret(path, "one")
    assert (rotated.id, rotated.key) == (edge.id, edge.key)
    assert edges.admit(edge.key, secret) == rotated
    with pytest.raises(NotAdmitted, match="is wrong"):
        edges.admit(edge.key, before)


def test_an_edge_that_was_removed_is_told_so_and_its_name_is_free_again(path: Path) -> None:
    edge, secret = add_edge(path, "one")
    edges = Edges(path)
    assert remove_edge(path, "one") == edge
    assert edges.all() == []
    with pytest.raises(NotAdmitted, match="edge 'one' was removed"):
        edges.admit(edge.key, secret)
    assert may_return(path, "one")
    again, its_secret = add_edge(path, "one")
    assert (again.id, again.key) == (edge.id, edge.key)
    assert its_secret != secret
    with pytest.raises(NotAdmitted, match="is wrong, or not right any more"):
        edges.admit(edge.key, secret)
    assert not may_return(path, "one")
    assert edges.admit(again.key, its_secret) == again


@pytest.mark.parametrize("change", [remove_edge, rotate_secret])
def test_what_is_not_there_cannot_be_changed(path: Path, change: object) -> None:
    assert callable(change)
    with pytest.raises(InvalidSettings, match="no edge is named 'two'"):
        change(path, "two")
    add_edge(path, "one")
    with pytest.raises(InvalidSettings, match="no edge is named 'two'"):
        change(path, "two")


def test_edges_added_at_the_same_time_are_all_kept(path: Path) -> None:
    names = [f"edge-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: add_edge(path, name), names))
    assert sorted(edge.name for edge in Edges(path).all()) == sorted(names)


def test_the_secret_stands_nowhere_and_the_file_is_private(path: Path) -> None:
    _, secret = add_edge(path, "one")
    assert secret not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_name_is_given_once(path: Path) -> None:
    add_edge(path, "one")
    with pytest.raises(InvalidSettings, match="'one'"):
        add_edge(path, "one")


@pytest.mark.parametrize("name", ["", "  ", "a\nb"])
def test_a_name_that_cannot_be_shown_is_refused(path: Path, name: str) -> None:
    with pytest.raises(InvalidSettings, match="printable name"):
        add_edge(path, name)
    assert not path.exists()


def test_a_list_of_an_earlier_version_is_read(path: Path) -> None:
    edge, secret = add_edge(path, "one")
    document = json.loads(path.read_text())
    del document["revoked"]
    path.write_text(json.dumps(document))
    assert Edges(path).admit(edge.key, secret) == edge


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"hash_key": "zz", "edges": []})])
def test_a_broken_file_says_what_to_do(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidSettings, match="restore it"):
        Edges(path).all()
