"""The command line as a whole."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeferry.__main__ import COMMANDS, main
from edgeferry.core.clock import SystemClock
from edgeferry.runtime.settings import Settings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.edges import add_edge


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
    assert f"{missing} does not exist: name the settings file of a site" in result.stderr


def test_a_site_of_this_folder_is_named_by_its_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "data" / "cloud" / "settings.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"role: cloud\nsite: cloud\nsync: {{edges_file: {tmp_path}/edges.json}}\n")
    added, _ = add_edge(tmp_path / "edges.json", "plant")
    shown = [{"id": added.id, "name": "plant", "key": added.key}]
    assert run("edges", "list", "--settings", str(file)) == shown
    monkeypatch.setenv("EDGEFERRY_SETTINGS", "elsewhere.yaml")
    assert run("edges", "list", "--site", "cloud") == shown

    missing = CliRunner().invoke(main, ["devices", "list"])
    assert "elsewhere.yaml does not exist" in missing.stderr
    monkeypatch.delenv("EDGEFERRY_SETTINGS")
    missing = CliRunner().invoke(main, ["devices", "list"])
    assert "data/edge/settings.yaml does not exist" in missing.stderr
    assert "start the Edge first, in this folder, by `edgeferry edge`" in missing.stderr
    both = ["devices", "list", "--site", "cloud", "--settings", str(file)]
    assert "give one of them" in CliRunner().invoke(main, both).stderr


@pytest.mark.parametrize("tool", [["lag"], ["topics", "list"], ["tail", "edge.root"]])
def test_a_kafka_that_is_not_there_is_told_at_once(tool: list[str], tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        file = tmp_path / "settings.yaml"
        file.write_text(f"log: {{kind: kafka, kafka: {{bootstrap: '127.0.0.1:{port}'}}}}\n")
        ended = subprocess.run(
            [sys.executable, "-m", "edgeferry", *tool, "--settings", str(file)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"Error: Kafka at 127.0.0.1:{port} does not answer: start it; that of `edgeferry up` "
        "runs as long as it does\n"
    )


def test_a_site_that_never_ran_has_no_log(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"data: {tmp_path}\n")
    result = CliRunner().invoke(main, ["dead-letters", "list", "--settings", str(file)])
    assert result.exit_code == 1
    assert f"no log in {tmp_path} yet: start the site first" in result.stderr


@pytest.fixture
def edge(tmp_path: Path) -> str:
    file = tmp_path / "settings.yaml"
    file.write_text(f"role: edge\nsite: edge\ndata: {tmp_path}\nhttp: {{port: 9}}\n")
    return str(file)


def run(*arguments: str) -> object:
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_devices_of_a_site_that_does_not_run_are_not_to_be_had(edge: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["devices", "list", "--settings", edge])
    assert result.exit_code == 1
    assert "no administrator's password" in result.stderr
    (tmp_path / "admin-password").write_text("secret")
    result = CliRunner().invoke(main, ["devices", "list", "--settings", edge])
    assert result.exit_code == 1
    assert "does not answer at http://127.0.0.1:9" in result.stderr
    assert "start it first" in result.stderr


class FakeSite:
    """Stands for a site's REST interface with the device pump-1."""

    def __init__(self, settings: Settings) -> None:
        """Whatever they say."""

    async def login(self) -> "FakeSite":
        return self

    async def call(
        self, method: str, path: str, body: object = None, query: object = None
    ) -> dict[str, Any]:
        if path.endswith("/credentials"):
            return {"credentialsId": "t0ken"}
        return {"id": {"id": "1-2"}, "name": "pump-1", "type": "pump", "version": 1}

    async def pages(self, path: str) -> list[dict[str, Any]]:
        return [await self.call("GET", path)]


def test_one_device_is_shown_as_an_object_and_many_as_a_list(
    edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.tools.devices.SiteRest", FakeSite)
    shown = {"name": "pump-1", "id": "1-2", "profile": "pump", "token": "t0ken"}
    for command in ("add", "remove"):
        assert run("devices", command, "pump-1", "--settings", edge) == shown
        told = CliRunner().invoke(main, ["devices", command, "pump-1", "--settings", edge])
        assert "t0ken" in told.stdout
    assert run("devices", "list", "--settings", edge) == [shown]


@pytest.fixture
def cloud(tmp_path: Path) -> str:
    tls = ensure_dev_authority(tmp_path / "tls", SystemClock())
    file = tmp_path / "settings.yaml"
    file.write_text(
        "role: cloud\nsite: cloud\nsync:\n"
        f"  edges_file: {tmp_path}/edges.json\n"
        f"  cert_file: {tls.cert}\n"
        "  address: cloud.example:7070\n"
    )
    return str(file)


def test_edges_are_added_and_listed_without_their_secrets(cloud: str) -> None:
    added = run("edges", "add", "north", "--settings", cloud)
    assert isinstance(added, dict)
    assert len(added["secret"]) == 64
    assert added["fingerprint"].startswith("sha256:")
    assert added["command"] == (
        f"edgeferry edge --cloud cloud.example:7070 --key {added['key']} "
        f"--secret {added['secret']} --fingerprint {added['fingerprint']}"
    )
    listed = {name: added[name] for name in ("id", "name", "key")}
    assert run("edges", "list", "--settings", cloud) == [listed]
    assert run("edges", "remove", "north", "--settings", cloud) == listed
    assert run("edges", "list", "--settings", cloud) == []


def test_the_enrolment_is_one_line_that_holds_all(cloud: str) -> None:
    result = CliRunner().invoke(main, ["edges", "add", "north", "--settings", cloud])
    commands = [line for line in result.output.splitlines() if line.startswith("  edgeferry edge ")]
    assert len(commands) == 1
    for option in ("--cloud cloud.example:7070", "--key ", "--secret ", "--fingerprint sha256:"):
        assert option in commands[0]


def test_a_new_secret_is_another_one_for_the_same_edge(cloud: str) -> None:
    added = run("edges", "add", "north", "--settings", cloud)
    rotated = run("edges", "rotate", "north", "--settings", cloud)
    assert isinstance(added, dict)
    assert isinstance(rotated, dict)
    same = ("id", "name", "key", "cloud", "fingerprint")
    assert {name: added[name] for name in same} == {name: rotated[name] for name in same}
    assert added["secret"] != rotated["secret"]


def test_an_edge_that_is_not_there_is_told(cloud: str) -> None:
    for command in ("remove", "rotate"):
        result = CliRunner().invoke(main, ["edges", command, "south", "--settings", cloud])
        assert result.exit_code == 1
        assert "no edge is named 'south'" in result.stderr


def test_a_certificate_that_cannot_be_read_admits_nobody(cloud: str, tmp_path: Path) -> None:
    (tmp_path / "tls" / "server.pem").write_text("nothing")
    result = CliRunner().invoke(main, ["edges", "add", "north", "--settings", cloud])
    assert result.exit_code == 1
    assert "is no certificate in PEM" in result.stderr
    assert run("edges", "list", "--settings", cloud) == []


def test_rules_wants_to_know_which(edge: str) -> None:
    result = CliRunner().invoke(main, ["rules", "--settings", edge])
    assert result.exit_code == 2
    assert "say which rule nodes: --node NODE, or --all" in result.stderr


def part(edge: str, *arguments: str, **environment: str) -> str:
    """What a part of a site says on stderr when its settings are refused."""
    ended = subprocess.run(
        [sys.executable, "-m", "edgeferry", *arguments, "--settings", edge],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_node_that_the_chain_has_not_is_refused(edge: str) -> None:
    kinds = {"EDGEFERRY_LOG__KIND": "kafka", "EDGEFERRY_STORE__KIND": "cassandra"}
    said = part(edge, "rules", "--node", "nope", **kinds)
    assert "chain edge_root has no node nope; it has " in said


@pytest.mark.parametrize("command", [("gateway",), ("rules", "--all"), ("sync",), ("api",)])
def test_a_site_on_sqlite_does_not_run_in_parts(edge: str, command: tuple[str, ...]) -> None:
    said = part(edge, *command)
    assert "a SQLite file belongs to one process" in said
    assert "log.kind is sqlite: set kafka" in said
    assert "`edgeferry site`" in said


def test_a_log_on_kafka_is_not_enough_for_parts_that_share_a_store(edge: str) -> None:
    said = part(edge, "api", EDGEFERRY_LOG__KIND="kafka")
    assert "(store.kind is sqlite: set cassandra)" in said


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("edgeferry.__main__", "asyncio edgeferry.runtime pydantic yaml"),
        ("edgeferry.tools.up", "aiokafka confluent_kafka cassandra faust fastapi grpc psutil rich"),
        ("edgeferry.tools.site_command", "faust fastapi grpc uvicorn"),
        ("edgeferry.tools.site", "confluent_kafka cassandra psutil edgeferry.tools.servers"),
    ],
)
def test_a_command_imports_only_what_it_needs(module: str, unwanted: str) -> None:
    program = f"import {module}, sys; print([m for m in {unwanted.split()} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"
