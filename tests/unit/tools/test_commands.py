"""The command line as a whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeferry.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_and_has_help(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0, result.output


def test_an_unknown_command_is_refused() -> None:
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.stderr


def test_settings_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    missing = str(tmp_path / "settings.yaml")
    result = CliRunner().invoke(main, ["lag", "--settings", missing])
    assert result.exit_code == 2
    assert "does not exist: start `edgeferry up` first" in result.stderr


@pytest.fixture
def edge(tmp_path: Path) -> str:
    file = tmp_path / "settings.yaml"
    file.write_text(f"role: edge\nsite: edge\ndevices_file: {tmp_path}/devices.json\n")
    return str(file)


def run(*arguments: str) -> object:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_devices_are_added_listed_and_removed(edge: str) -> None:
    added = run("devices", "add", "pump", "--profile", "pumps", "--settings", edge)
    assert run("devices", "list", "--settings", edge) == added
    assert isinstance(added, list)
    assert (added[0]["name"], added[0]["profile"]) == ("pump", "pumps")
    run("devices", "remove", "pump", "--settings", edge)
    assert run("devices", "list", "--settings", edge) == []


def test_a_name_that_is_taken_is_an_error_on_stderr(edge: str) -> None:
    run("devices", "add", "pump", "--settings", edge)
    result = CliRunner().invoke(main, ["devices", "add", "pump", "--settings", edge])
    assert result.exit_code == 1
    assert "name: the same as" in result.stderr


def test_edges_are_added_and_listed_without_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"role: cloud\nsite: cloud\nsync: {{edges_file: {tmp_path}/edges.json}}\n")
    added = run("edges", "add", "north", "--settings", str(file))
    assert isinstance(added, dict)
    assert len(added.pop("secret")) == 64
    assert run("edges", "list", "--settings", str(file)) == [added]


def test_rules_wants_to_know_which(edge: str) -> None:
    result = CliRunner().invoke(main, ["rules", "--settings", edge])
    assert result.exit_code == 2
    assert "say which rule nodes: --node NODE, or --all" in result.stderr


def test_a_node_that_the_chain_has_not_is_refused(edge: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "edgeferry", "rules", "--node", "nope", "--settings", edge],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "chain edge_root has no node nope; it has " in ended.stderr
    assert "Traceback" not in ended.stderr
