"""The data folder of ``edgeferry up``: who holds it, which ports it takes."""

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.tools.data_folder import (
    DEFAULT_PORTS,
    DataFolderHeld,
    DataFolderUnusable,
    PortTaken,
    Remembered,
    choose_ports,
    held,
    lost_ports,
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_second_holder_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgeferry.tools.data_folder import held\n"
        "with held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(DataFolderHeld, match=f"process {other.pid}"), held(tmp_path):
            pass
        other.stdin.close()
        other.wait()
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(taken_port: int) -> None:
    with pytest.raises(PortTaken, match=f"port {taken_port} is taken.*--edge-http"):
        choose_ports({"edge-http": taken_port}, {})


def test_a_usual_port_that_is_taken_gives_way_to_a_free_one_and_says_so(taken_port: int) -> None:
    ports, notes = choose_ports({}, {**DEFAULT_PORTS, "sync": taken_port})
    assert ports["sync"] != taken_port
    note = f"port {taken_port} is taken: sync is on {ports['sync']} instead (--sync chooses)"
    assert note in notes


def test_port_0_takes_a_free_one_without_a_word() -> None:
    ports, notes = choose_ports(dict.fromkeys(DEFAULT_PORTS, 0), {})
    assert len(set(ports.values())) == len(DEFAULT_PORTS)
    assert notes == []


def test_starts_at_once_that_take_any_port_do_not_take_the_same() -> None:
    starts = [choose_ports(dict.fromkeys(DEFAULT_PORTS, 0), {})[0] for _ in range(20)]
    assert len({start["sync"] for start in starts}) > 1


def test_ports_of_the_last_start_are_taken_again() -> None:
    first, _ = choose_ports(dict.fromkeys(DEFAULT_PORTS, 0), {})
    again, notes = choose_ports({}, first)
    assert (again, notes) == (first, [])


def test_a_port_that_gives_way_does_not_land_on_one_that_another_is_known_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeferry.tools.data_folder.is_free", lambda port: port != 8080)
    ports, notes = choose_ports({}, {})
    assert ports == {**DEFAULT_PORTS, "cloud-http": 8082}
    assert notes == ["port 8080 is taken: cloud-http is on 8082 instead (--cloud-http chooses)"]


def test_a_port_that_was_lost_to_another_is_not_chosen_again() -> None:
    first, _ = choose_ports(dict.fromkeys(DEFAULT_PORTS, 0), {})
    again, _ = choose_ports({}, first, avoid={first["sync"]})
    assert again == {**first, "sync": again["sync"]}
    assert again["sync"] != first["sync"]


def test_lost_ports_are_told_and_one_that_was_asked_for_is_an_error(taken_port: int) -> None:
    chosen, _ = choose_ports(dict.fromkeys(DEFAULT_PORTS, 0), {})
    assert lost_ports(chosen, {}) == set()
    chosen["edge-http"] = taken_port
    assert lost_ports(chosen, {}) == {taken_port}
    with pytest.raises(PortTaken, match=f"port {taken_port} is taken.*--edge-http"):
        lost_ports(chosen, {"edge-http": taken_port})


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from edgeferry.tools.data_folder import held\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "with held(Path(sys.argv[1])): pass"
    )
    tmp_path.chmod(0o555)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DataFolderUnusable: cannot work in" in ended.stderr
    assert "(Permission denied: " in ended.stderr
    assert "make it writable" in ended.stderr


def test_a_full_disk_is_told_with_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(DataFolderUnusable, match=r"cannot work in .*No space left.*free space"),
        held(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_what_is_remembered_reads_back(tmp_path: Path) -> None:
    remembered = Remembered({"sync": 7070}, {"edge": "edge_root"})
    remembered.write(tmp_path)
    assert Remembered.read(tmp_path) == remembered


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "7",
        '{"ports": {}}',
        '{"ports": [], "chains": {}}',
        '{"ports": {"sync": "7070"}, "chains": {}}',
        '{"ports": {"sync": true}, "chains": {}}',
        '{"ports": {"sync": 70000}, "chains": {}}',
        '{"ports": {}, "chains": {"edge": 5}}',
        '{"ports": {}, "chains": {"edge": null}}',
    ],
)
def test_a_broken_memory_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    with pytest.raises(InvalidSettings, match=r"is broken.*remove it"):
        Remembered.read(tmp_path)
