"""What local servers do without a server: what must be there, what is fetched, which ports."""

import re
import socket
import subprocess
from pathlib import Path

import pytest

from edgeferry.tools.servers.jars import SETUP, FetchFailed, fetch
from edgeferry.tools.servers.kafka import Kafka
from edgeferry.tools.servers.ports import PortTaken, free_ports
from edgeferry.tools.servers.requirements import MissingProgram, find_java, find_maven
from edgeferry.tools.servers.server import LocalServer, ServerOptions
from edgeferry.tools.supervise import StartFailed

NAMES = ("clients", "inside")


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def only_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{folder}")


def ignore(line: str) -> None:
    """Takes what is said to the operator."""


def java_script(version: str) -> str:
    return f"""echo 'openjdk version "{version}" 2025-04-15' >&2"""


class TestJava:
    def test_missing_java_names_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        with pytest.raises(MissingProgram, match="apt-get install openjdk-17-jre-headless"):
            find_java(jvms=tmp_path)

    def test_another_java_is_named_and_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        program(tmp_path, "java", java_script("21.0.1"))
        with pytest.raises(MissingProgram, match=re.escape(f"{tmp_path}/java is Java 21")):
            find_java(jvms=tmp_path)

    def test_java_home_goes_before_path(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        program(tmp_path, "java", java_script("17.0.1"))
        home = program(tmp_path / "home" / "bin", "java", java_script("17.0.2"))
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
        assert find_java(jvms=tmp_path) == str(home)

    def test_a_java_17_beside_a_newer_default_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        program(tmp_path, "java", java_script("21.0.1"))
        beside = program(tmp_path / "java-17-openjdk-amd64" / "bin", "java", java_script("17.0.9"))
        assert find_java(jvms=tmp_path) == str(beside)

    def test_missing_maven_names_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        with pytest.raises(MissingProgram, match="apt-get install maven"):
            find_maven()


class TestFetch:
    @pytest.mark.asyncio
    async def test_other_jars_than_the_pinned_ones_are_refused_and_not_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jars = ("kafka-clients-4.1.1.jar", "unknown-1.jar")
        copies = "; ".join(f'echo other >"${{folder#*=}}/{jar}"' for jar in jars)
        only_on_path(monkeypatch, tmp_path)
        program(tmp_path, "mvn", f"for folder; do :; done; {copies}")
        with pytest.raises(FetchFailed) as failed:
            await fetch("kafka", "Kafka", tmp_path / "cache", ignore)
        text = str(failed.value)
        assert "kafka-clients-4.1.1.jar: SHA-256 is" in text
        assert "unknown-1.jar: not in the list" in text
        assert "kafka_2.13-4.1.1.jar: missing" in text
        assert list((tmp_path / "cache" / "jars").iterdir()) == []

    @pytest.mark.asyncio
    async def test_maven_that_fails_is_quoted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        only_on_path(monkeypatch, tmp_path)
        program(tmp_path, "mvn", "echo '[ERROR] Unknown host'; exit 1")
        with pytest.raises(FetchFailed, match="Unknown host"):
            await fetch("kafka", "Kafka", tmp_path / "cache", ignore)

    @pytest.mark.parametrize("name", ["kafka", "cassandra"])
    def test_what_the_pom_asks_for_is_among_the_pinned_jars(self, name: str) -> None:
        pom = (SETUP / f"{name}.pom.xml").read_text()
        pinned = (SETUP / f"{name}.sha256").read_text()
        wanted = re.findall(
            r"<dependency>.*?<artifactId>(.+?)</artifactId>.*?<version>(.+?)</version>", pom, re.S
        )
        assert wanted
        for artifact, version in wanted:
            assert re.search(rf"^[0-9a-f]{{64}}  {artifact}-{version}\.jar$", pinned, re.M)


class TestPorts:
    def test_ports_are_chosen_once(self, tmp_path: Path) -> None:
        file = tmp_path / "ports.json"
        ports = free_ports(file, NAMES)
        assert ports == free_ports(file, NAMES)
        assert len(set(ports.values())) == len(NAMES)

    def test_ports_lie_outside_the_range_for_outgoing_connections(self, tmp_path: Path) -> None:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        assert max(free_ports(tmp_path / "ports.json", NAMES).values()) < first

    def test_a_port_taken_by_another_program_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "ports.json"
        port = free_ports(file, NAMES)["clients"]
        with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken) as taken:
            free_ports(file, NAMES)
        assert f"port {port} " in str(taken.value)
        assert f"delete {file}" in str(taken.value)


class TestServer:
    @pytest.mark.asyncio
    async def test_the_process_of_another_program_is_never_touched(self, tmp_path: Path) -> None:
        server = LocalServer(Kafka(), tmp_path, ServerOptions())
        with subprocess.Popen(["sleep", "60"]) as other:
            (tmp_path / "kafka").mkdir()
            (tmp_path / "kafka" / "pid").write_text(str(other.pid))
            assert server.pid is None
            await server.stop()
            assert other.poll() is None
            other.kill()

    def test_before_the_first_start_there_is_neither_process_nor_address(
        self, tmp_path: Path
    ) -> None:
        server = LocalServer(Kafka(), tmp_path / "data", ServerOptions())
        assert (server.pid, server.address) == (None, None)
        assert not (tmp_path / "data").exists()

    @pytest.mark.asyncio
    async def test_a_data_folder_that_the_servers_cannot_name_is_refused(
        self, tmp_path: Path
    ) -> None:
        server = LocalServer(Kafka(), tmp_path / "a,b", ServerOptions())
        with pytest.raises(StartFailed, match="must not contain"):
            await server.start()
