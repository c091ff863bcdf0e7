"""``edgeferry check``."""

import json
from pathlib import Path

from click.testing import CliRunner

from edgeferry.tools.check import main

GOOD = """
chain: mine
version: 3
input: hot
nodes:
  hot: {type: script_filter, config: {expression: msg.temperature > 20}}
  save: {type: save_timeseries}
wires:
  - {from: hot, relation: "True", to: [save]}
"""


def test_a_good_chain_shows_its_nodes_relations_and_topics(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    result = CliRunner().invoke(main, [str(path)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "OK mine, version 3, 2 nodes, for Edge and Cloud",
        "  hot  script_filter  <site>.mine  (<site>.root if it is the root chain)",
        "    True -> save",
        "  save  save_timeseries  <site>.mine.save",
    ]


def test_every_problem_of_every_chain_is_told_and_the_exit_code_is_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD.replace("save_timeseries", "save_timesseries").replace("True", "Treu"))
    result = CliRunner().invoke(main, [str(path), "cloud_root", "nothing"])
    assert result.exit_code == 1
    assert "OK cloud_root" in result.stdout
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"{path}: nodes.save.type: unknown node type")
    assert lines[1].startswith(f"{path}: wires[0].relation: script_filter has no relation")
    assert lines[2].startswith("no built-in chain nothing; there are cloud_history_only")


def test_all_built_in_chains_are_good() -> None:
    result = CliRunner().invoke(main, ["--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["ok"]
    sides = {chain["chain"]: chain["side"] for chain in document["chains"]}
    assert sides == {
        "cloud_history_only": "both",
        "cloud_root": "both",
        "cloud_to_edge": "cloud",
        "edge_root": "edge",
    }


def test_a_role_refuses_nodes_of_the_other_side() -> None:
    assert CliRunner().invoke(main, ["edge_root", "--role", "edge"]).exit_code == 0
    result = CliRunner().invoke(main, ["edge_root", "--role", "cloud", "--json"])
    assert result.exit_code == 1
    (chain,) = json.loads(result.stdout)["chains"]
    assert chain["problems"] == [
        f"chains/edge_root.yaml: nodes.{node}.type: push_to_cloud stands only in edge chains"
        for node in ("cloud", "cloud_attributes")
    ]
