"""Chains that call chains: found, and every way to be told what is wrong with them."""

import itertools
from pathlib import Path

import pytest

from edgeferry.core.chain import NESTING_MAX
from edgeferry.core.errors import InvalidChain
from edgeferry.rules.nesting import CHAINS_MAX, load_chains


def calling(name: str, *callees: str, relation: str = "", inner: str = "log") -> str:
    """A chain with a node ``to_X`` for each chain X that it calls; a wire with ``relation``
    leads from each to a log. ``inner``: type of the last node."""
    nodes = "".join(
        f"  to_{one}: {{type: rule_chain, config: {{chain: {one}}}}}\n" for one in callees
    )
    targets = ", ".join([*(f"to_{one}" for one in callees), "done"])
    wires = f"  - {{from: first, relation: Success, to: [{targets}]}}\n"
    if relation:
        wires += "".join(
            f"  - {{from: to_{one}, relation: {relation}, to: [logged]}}\n" for one in callees
        )
        nodes += "  logged: {type: log}\n"
    return (
        f"chain: {name}\nversion: 1\ninput: first\nnodes:\n  first: {{type: log}}\n"
        f"{nodes}  done: {{type: {inner}}}\nwires:\n{wires}"
    )


def write(folder: Path, **chains: str) -> str:
    """The path of the first."""
    for name, text in chains.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{next(iter(chains))}.yaml")


def problems(path: str, role: str = "cloud") -> list[str]:
    with pytest.raises(InvalidChain) as caught:
        load_chains(path, role)  # type: ignore[arg-type]
    return list(caught.value.problems)


def test_every_chain_that_is_reached_is_loaded_once(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        top=calling("top", "left", "right"),
        left=calling("left", "deep"),
        right=calling("right", "deep", "cloud_root"),
        deep=calling("deep"),
        unreached="nothing that could be read",
    )
    chains = load_chains(root, "cloud")
    assert [chain.name for chain in chains.all] == ["top", "left", "right", "deep", "cloud_root"]
    assert chains.root.name == "top"
    assert chains.find("deep") is chains.nested[2]
    assert chains.find("unreached") is None


def test_a_file_beside_the_caller_goes_before_a_built_in_chain(tmp_path: Path) -> None:
    root = write(tmp_path, top=calling("top", "cloud_root"), cloud_root=calling("cloud_root"))
    assert list(load_chains(root, "cloud").nested[0].nodes) == ["first", "done"]


def test_an_unknown_chain_is_named_with_its_path(tmp_path: Path) -> None:
    root = write(tmp_path, top=calling("top", "deep"), deep=calling("deep", "alarm"), alarms="")
    (problem,) = problems(root)
    assert problem == (
        f"{tmp_path / 'deep.yaml'}: nodes.to_alarm.config.chain: there is no chain alarm: neither "
        f"{tmp_path / 'alarm.yaml'} nor a built-in one, did you mean alarms?"
    )


def test_a_chain_that_reaches_itself_is_refused(tmp_path: Path) -> None:
    one = write(tmp_path, one=calling("one", "one"))
    assert problems(one) == [
        f"{one}: nodes.to_one.config.chain: a chain reaches itself: one -> one"
    ]
    top = write(tmp_path, top=calling("top", "b"), b=calling("b", "c"), c=calling("c", "b"))
    assert problems(top) == [
        f"{tmp_path / 'b.yaml'}: nodes.to_c.config.chain: a chain reaches itself: b -> c -> b"
    ]


def test_chains_may_not_be_nested_too_deep_nor_be_too_many(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(NESTING_MAX + 2)]
    callees = dict(itertools.pairwise(names))
    deep = {n: calling(n, *([callees[n]] if n in callees else [])) for n in names}
    root = write(tmp_path, **deep)
    assert problems(root) == [
        f"{root}: chains are nested 17 deep: at most {NESTING_MAX} are allowed"
    ]
    assert len(load_chains(str(tmp_path / "n1.yaml"), "cloud").all) == NESTING_MAX + 1
    many = [f"m{number}" for number in range(CHAINS_MAX)]
    root = write(tmp_path, wide=calling("wide", *many), **{name: calling(name) for name in many})
    assert problems(root) == [f"{root}: it reaches more than {CHAINS_MAX} chains"]


def test_a_wire_of_a_calling_node_leads_from_an_output_or_from_failure(tmp_path: Path) -> None:
    inner = calling("inner", inner="output")
    for relation in ("done", "DONE", "Failure"):
        write(tmp_path, inner=inner)
        root = write(tmp_path, top=calling("top", "inner", relation=relation))
        assert load_chains(root, "cloud").root.name == "top"
    root = write(tmp_path, top=calling("top", "inner", relation="Success"))
    assert problems(root) == [
        f"{root}: wires[1].relation: chain inner has no output node Success; there are done"
    ]
    write(tmp_path, inner=calling("inner"))
    assert "chain inner has no output node Success; it has none" in problems(root)[0]


def test_no_wire_begins_at_an_output(tmp_path: Path) -> None:
    text = calling("top", inner="output") + "  - {from: done, relation: Success, to: [first]}\n"
    (problem, *_) = problems(write(tmp_path, top=text))
    assert problem.endswith(
        "wires[1].relation: output leads back to the calling chain: no wire leaves it"
    )


def test_every_problem_of_every_file_is_told(tmp_path: Path) -> None:
    bad = calling("bad").replace("{type: log}", "{type: lag}", 1)
    root = write(tmp_path, top=calling("top", "bad", "none"), bad=bad)
    told = problems(root)
    assert len(told) == 2
    assert "there is no chain none" in told[0]
    assert told[1].startswith(f"{tmp_path / 'bad.yaml'}: nodes.first.type: unknown node type")


def test_a_called_chain_stands_on_the_callers_side(tmp_path: Path) -> None:
    root = write(
        tmp_path, top=calling("top", "inner"), inner=calling("inner", inner="push_to_edge")
    )
    assert load_chains(root, "cloud").nested
    assert problems(root, "edge") == [
        f"{tmp_path / 'inner.yaml'}: nodes.done.type: push_to_edge stands only in cloud chains"
    ]


def test_two_chains_of_one_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built_in, mine = tmp_path / "built_in", tmp_path / "mine"
    built_in.mkdir()
    mine.mkdir()
    monkeypatch.setattr("edgeferry.rules.loader.CHAINS", built_in)
    write(built_in, shared=calling("shared", "inner"), inner=calling("inner"))
    root = write(mine, top=calling("top", "inner", "shared"), inner=calling("inner"))
    (problem,) = problems(root)
    assert problem == (
        "chains/shared.yaml: nodes.to_inner.config.chain: two chains are named inner, "
        f"{mine / 'inner.yaml'} and chains/inner.yaml: rename one"
    )


@pytest.mark.parametrize("name", ["../x", "X", "", "a b"])
def test_what_is_no_name_of_a_chain(tmp_path: Path, name: str) -> None:
    text = calling("top", "inner").replace("{chain: inner}", f"{{chain: {name!r}}}")
    (problem,) = problems(write(tmp_path, top=text))
    assert "nodes.to_inner.config.chain: give a chain's name" in problem
