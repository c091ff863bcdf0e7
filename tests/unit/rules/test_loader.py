"""Chain files: what a good one gives, and every way to be told of a bad one."""

from pathlib import Path

import pytest

from edgeferry.core.chain import Wire
from edgeferry.core.errors import InvalidChain
from edgeferry.core.kv import Scope
from edgeferry.log.topics import Role
from edgeferry.rules.loader import built_in_chains, load_chain
from edgeferry.rules.nodes import save_attributes, save_timeseries
from tests.unit.rules.chain_files import ADVANCED, GOOD, parse, problems


def test_a_good_file_becomes_a_chain() -> None:
    chain = parse(GOOD)
    assert (chain.name, chain.version, chain.input) == ("x", 2, "switch")
    assert list(chain.nodes) == ["switch", "save", "attributes", "log"]
    assert chain.nodes["switch"].title == "What is it"
    assert chain.nodes["save"].config == save_timeseries.Config(default_ttl=60)
    assert chain.nodes["attributes"].config == save_attributes.Config(Scope.CLIENT)
    assert chain.wires[1] == Wire("switch", "Post attributes", ("attributes", "log"))
    assert chain.targets("switch") == {
        "post telemetry": ("save",),
        "post attributes": ("attributes", "log"),
    }


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("chain: x", "chain: y", "chain: y stands in a file named x: give both one name"),
        ("chain: x", "chain: X", 'chain: "X" is no name'),
        ("chain: x", "chain: a.b", 'chain: "a.b" is no name'),
        ("chain: x", "chain: 5", "chain: 5 is no name"),
        ("chain: x", "chain: root", "chain: root is the name of a topic of every site"),
        ("chain: x", "chain: cloud-events", "chain: cloud-events is the name of a topic"),
        ("chain: x", "", "chain: missing"),
        ("version: 2", "version: 0", "version: expected a whole number from 1 on, got 0"),
        ("version: 2", 'version: "2"', 'version: expected a whole number from 1 on, got "2"'),
        ("version: 2", "version: on", "version: expected a whole number from 1 on, got true"),
        ("version: 2", "vresion: 2", "vresion: unknown key, did you mean version?"),
        ("input: switch", "", "input: missing"),
        ("input: switch", "input: swich", 'input: there is no node "swich", did you mean switch?'),
        ("input: switch", "input: [switch]", "input: there is no node a list"),
        ("input: switch", "input: save", "nodes.switch: no wire leads to it from save, the input"),
        (
            "type: log}",
            "type: logg}",
            'nodes.log.type: unknown node type "logg", did you mean log?',
        ),
        ("type: log}", "type: 5}", "nodes.log.type: unknown node type 5; there are message_type"),
        ("type: log}", "type: [log]}", "nodes.log.type: unknown node type a list"),
        ("{type: log}", "log", "nodes.log: expected a mapping with type and config, got "),
        ("{type: log}", "{title: Log}", "nodes.log.type: missing"),
        (
            "{type: log}",
            "{type: log, titel: Log}",
            "nodes.log.titel: unknown key, did you mean tit",
        ),
        ("{type: log}", "{type: log, title: 5}", "nodes.log.title: expected text up to 255 long"),
        ("{type: log}", "{type: log, config: 5}", "nodes.log.config: expected options, got 5"),
        ("{type: log}", "{type: push_to_moon}", "nodes.log.type: unknown node type"),
        (
            "default_ttl: 60",
            "default_ttl: x",
            'nodes.save.config.default_ttl: expected a whole number, got "x"',
        ),
        (
            "default_ttl: 60",
            "default_ttl: -1",
            "nodes.save.config.default_ttl: expected 0 to 630720000 seconds",
        ),
        (
            "default_ttl: 60",
            "ttl: 60",
            "nodes.save.config.ttl: unknown option, did you mean default_ttl?",
        ),
        (
            "default_ttl: 60",
            "processing_settings: {type: DEDUPLICATE}",
            "nodes.save.config.processing_settings.deduplication_interval_secs: expected 1 to",
        ),
        (
            "default_ttl: 60",
            "processing_settings: {type: ADVANCED, latest: {type: SKIP}}",
            "nodes.save.config.processing_settings.timeseries: missing: ADVANCED wants",
        ),
        (
            "default_ttl: 60",
            ADVANCED,
            "nodes.save.config.processing_settings.latest.deduplication_interval_secs: expected",
        ),
        (
            "default_ttl: 60",
            "processing_settings: {latest: {type: SKIP}}",
            "nodes.save.config.processing_settings.type: timeseries and latest are only for",
        ),
        (
            "default_ttl: 60",
            "processing_settings: {deduplication_interval_secs: 60}",
            "nodes.save.config.processing_settings.deduplication_interval_secs: only for type DED",
        ),
        (
            "scope: CLIENT_SCOPE",
            "scope: CLIENT",
            "nodes.attributes.config.scope: expected one of CLIENT_SCOPE, SHARED_SCOPE, SERVER",
        ),
        (
            "relation: Failure",
            "relation: Fail",
            'wires[2].relation: save_timeseries has no relation "Fail", did you mean Failure?',
        ),
        (
            "relation: Failure",
            "relation: True",
            "wires[2].relation: true without quotes is no text",
        ),
        ("relation: Failure", "relation: On", "wires[2].relation: true without quotes is no text"),
        ("relation: Failure", "relation: Yes", "wires[2].relation: true without quotes is no text"),
        ("relation: Failure", "relation: 5", "wires[2].relation: expected text, got 5"),
        ("relation: Failure", 'relation: ""', 'wires[2].relation: expected text, got ""'),
        ("relation: Failure, ", "", "wires[2].relation: missing"),
        ("from: save", "from: svae", 'wires[2].from: there is no node "svae", did you mean save?'),
        ("from: save, ", "", "wires[2].from: missing"),
        (
            "to: [save]",
            "to: [saave]",
            'wires[0].to[0]: there is no node "saave", did you mean save?',
        ),
        (
            "to: [save]",
            "to: save",
            'wires[0].to: expected a list of nodes such as [save], got "sav',
        ),
        (
            "to: [save]",
            "to: []",
            "wires[0].to: expected a list of nodes such as [save], got a list",
        ),
        ("to: [save]", "too: [save]", "wires[0].to: missing"),
        ("  - {from: save, relation: Failure, to: [log]}", "  - save", "wires[2]: expected a map"),
        (
            "to: [attributes, log]",
            "to: [attributes, log, log]",
            "wires[1]: switch leads by Post attributes to log a second time",
        ),
        (
            "relation: Post telemetry, to: [save]",
            "relation: Post attributes, to: [save, log]",
            "wires[1]: switch leads by Post attributes to log a second time",
        ),
        ("to: [save]", "to: [log]", "nodes.save: no wire leads to it from switch, the input"),
        (
            "Failure, to: [log]",
            "Failure, to: [switch]",
            "wires: a cycle: save -> switch -> save",
        ),
        ("Failure, to: [log]", "Failure, to: [save]", "wires: a cycle: save -> save"),
    ],
)
def test_a_mistake_is_told_with_its_path(old: str, new: str, wanted: str) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert any(problem.startswith(wanted) for problem in found), found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "expected a mapping with chain, version, input, nodes, wires, got nothing"),
        ("- 1", "expected a mapping with chain, version, input, nodes, wires, got a list"),
        ("a: [", "line 1, column 5: expected the node content, but found '<stream end>'"),
        ("chain: x\n\tversion: 1", "line 2, column 1: found character '\\t' that cannot start"),
        ("chain: x\nchain: x", "line 2, column 1: the key chain stands here twice"),
        ("5: x", 'line 1, column 1: a key must be text: quote it ("5")'),
        ("on: x", 'line 1, column 1: a key must be text: quote it ("on")'),
        ("[a]: x", "line 1, column 1: a key must be text: quote it"),
        ("{}: x", "line 1, column 1: a key must be text: quote it"),
        ("a: &x 1", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: *x", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: !!python/object:os.system x", "line 1, column 4: tags are not allowed"),
        ("a: !!bool maybe", "line 1, column 4: tags are not allowed"),
        ("a: 1\n---\na: 2", "line 2, column 1: but found another document"),
        ("a: \x00", "not YAML: unacceptable character"),
        ("a: " + "9" * 5000, "a value cannot be read: Exceeds the limit"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("x" * 200_000, "larger than 128 KiB"),
        ("%YAML 9.9\n--- a", "line 1, column 1: found incompatible YAML document"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str, wanted: str) -> None:
    assert any(problem.startswith(wanted) for problem in problems(text)), problems(text)


def test_everything_wrong_is_told_at_once() -> None:
    text = """
chain: y
verion: 1
input: nothing
nodes:
  One: {type: log}
  two: {type: lag, config: {}}
  three: {type: log, config: {max_per_second: 0, message: 5, x: 1}}
wires:
  - {from: two, relation: anything, to: [three]}
  - {from: three, relation: True, to: [four]}
  - {from: three, relation: Sucess, to: [three], by: [x]}
"""
    assert [problem.partition(": ")[0] for problem in problems(text)] == [
        "verion",
        "version",
        "chain",
        "nodes.One",
        "nodes.two.type",
        "nodes.three.config.message",
        "nodes.three.config.x",
        "wires[1].to[0]",
        "wires[1].relation",
        "wires[2].by",
        "wires[2].relation",
        "input",
    ]


def test_a_problem_is_one_line_of_bounded_length_whatever_the_file_says() -> None:
    found = problems('"a\\nb\\e[31m": 1\n' + "k" * 100 + ": 1\n? " + "x" * 100_000 + "\n: 1\n")
    assert found[0].startswith("a\\nb\\x1b[31m: unknown key")
    assert all(problem.isprintable() and len(problem) < 2_100 for problem in found)


def test_a_node_stands_only_where_it_may() -> None:
    text = GOOD.replace("{type: log}", "{type: push_to_cloud}")
    assert parse(text, "edge").nodes["log"].type == "push_to_cloud"
    assert parse(text, None).nodes["log"].type == "push_to_cloud"
    assert problems(text, "cloud") == ["nodes.log.type: push_to_cloud stands only in edge chains"]


def test_every_circle_is_told() -> None:
    text = """
chain: x
version: 1
input: a
nodes: {a: {type: log}, b: {type: log}, c: {type: log}, d: {type: log}, e: {type: log}}
wires:
  - {from: a, relation: Success, to: [b, d]}
  - {from: b, relation: Success, to: [c]}
  - {from: c, relation: Success, to: [b]}
  - {from: d, relation: Success, to: [e]}
  - {from: e, relation: Failure, to: [d]}
"""
    assert problems(text) == ["wires: a cycle: b -> c -> b", "wires: a cycle: d -> e -> d"]


def test_branches_that_meet_again_are_no_circle() -> None:
    text = """
chain: x
version: 1
input: a
nodes: {a: {type: log}, b: {type: log}, c: {type: log}}
wires:
  - {from: a, relation: Success, to: [b, c]}
  - {from: b, relation: Success, to: [c]}
"""
    assert parse(text).targets("b") == {"success": ("c",)}


def test_sizes_are_bounded() -> None:
    nodes = "".join(f"  n{i}: {{type: log}}\n" for i in range(201))
    text = f"chain: x\nversion: 1\ninput: n0\nnodes:\n{nodes}wires: []\n"
    assert problems(text) == ["nodes: expected 1 to 200 nodes, got 201"]
    assert problems("chain: x\nversion: 1\ninput: a\nnodes: {}\nwires: []\n") == [
        "nodes: expected 1 to 200 nodes, got 0"
    ]
    name = "n" * 65
    text = f"chain: x\nversion: 1\ninput: {name}\nnodes: {{{name}: {{type: log}}}}\nwires: []\n"
    assert "is no name" in problems(text)[0]


@pytest.mark.parametrize("name", built_in_chains())
def test_a_built_in_chain_loads_by_its_name(name: str) -> None:
    role: Role = "edge" if name.startswith("edge") else "cloud"
    assert load_chain(name, role).name == name


def test_the_default_chains_are_thingsboards_and_delete_what_the_other_site_deleted() -> None:
    edge = load_chain("edge_root", "edge")
    assert edge.targets("switch") == {
        "post telemetry": ("save",),
        "post attributes": ("attributes",),
        "timeseries deleted": ("deleted",),
        "rpc request from device": ("log_rpc",),
        "rpc request to device": ("rpc",),
        "other": ("log_other",),
        "attributes updated": ("cloud_attributes",),
        "attributes deleted": ("cloud_attributes",),
    }
    assert edge.targets("save") == edge.targets("attributes") == {"success": ("cloud",)}
    assert edge.nodes["rpc"].config.timeout_in_seconds == 60
    assert edge.nodes["cloud"].config.scope is Scope.CLIENT
    assert edge.nodes["cloud_attributes"].config.scope is Scope.SERVER
    cloud = load_chain("cloud_root", "cloud")
    assert cloud.targets("switch") == {
        "post telemetry": ("save",),
        "post attributes": ("attributes",),
        "timeseries deleted": ("deleted",),
        "rpc request from device": ("log_rpc",),
        "rpc request to device": ("rpc",),
        "other": ("log_other",),
    }


def test_history_only_differs_from_the_cloud_chain_by_the_latest_values() -> None:
    full, history = load_chain("cloud_root", "cloud"), load_chain("cloud_history_only", "cloud")
    assert history.wires == full.wires
    for name, node in history.nodes.items():
        if name != "save":
            assert node == full.nodes[name]
    choices = save_timeseries.Choices(history.nodes["save"].config)
    assert choices.history.wanted("x", 1)
    assert not choices.latest.wanted("x", 1)


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(GOOD)
    assert load_chain(str(path), "cloud") == parse(GOOD)


def test_a_path_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    for name, wanted in (
        (str(tmp_path / "none.yaml"), "none.yaml: there is no such file"),
        (str(tmp_path), "cannot be read: Is a directory"),
        (str(tmp_path / "bytes.yaml"), "bytes.yaml: not UTF-8 at byte 0"),
        ("a\x00b", "not a path"),
        ("", "a chain has no name: give a built-in one (cloud_history_only, "),
        (
            "edge_rot",
            "no built-in chain edge_rot, did you mean edge_root?; for a file give its path",
        ),
        ("mine", "no built-in chain mine; there are cloud_history_only, cloud_root, cloud_to_edge"),
    ):
        with pytest.raises(InvalidChain) as caught:
            load_chain(name, "edge")
        assert wanted in str(caught.value)
