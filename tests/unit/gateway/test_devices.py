"""Devices and tokens in a file."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.devices import add_device, read_devices

ID_1, ID_2 = "5f6e3a00-5b1e-11f0-8000-0242ac120002", "5f6e3a01-5b1e-11f0-8000-0242ac120002"


def row(**changed: Any) -> dict[str, Any]:
    return {"name": "pump-1", "id": ID_1, "profile": "pump", "token": "t1", **changed}


def write(path: Path, *rows: Any) -> None:
    path.write_text(json.dumps({"devices": rows}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devices.json"


def test_an_added_device_is_read_back(path: Path) -> None:
    device = add_device(path, "pump-1", "pump")
    assert read_devices(path) == (device,)
    gateway = add_device(path, "gateway-1", gateway=True)
    assert read_devices(path) == (device, gateway)
    assert (device.gateway, gateway.gateway) == (False, True)


def test_the_file_is_private_and_leaves_no_half_written_one(path: Path) -> None:
    add_device(path, "pump-1")
    add_device(path, "pump-2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in path.parent.iterdir()) == ["devices.json", "devices.json.lock"]


def test_a_name_or_token_that_is_taken_is_refused_and_nothing_changes(path: Path) -> None:
    first = add_device(path, "pump-1", token="mine")
    with pytest.raises(InvalidSettings, match="there is a device named 'pump-1'"):
        add_device(path, "pump-1")
    with pytest.raises(InvalidSettings, match=r"'pump-1' in .* has this token"):
        add_device(path, "pump-2", token="mine")
    with pytest.raises(InvalidSettings, match="without spaces"):
        add_device(path, "pump-2", token="a/b")
    assert read_devices(path) == (first,)


def test_no_file_means_no_devices_yet(path: Path) -> None:
    assert read_devices(path) == ()


def test_all_problems_are_told_at_once(path: Path) -> None:
    write(
        path,
        row(id="7f3e7c52-0f0e-4c5a-9c7e-0242ac120002"),
        row(name=" ", id=ID_2, token="a b"),
        row(name="pump-1", id=ID_2, token="t3", colour="red", gateway="yes"),
        "pump",
    )
    with pytest.raises(InvalidSettings) as caught:
        read_devices(path)
    told = str(caught.value).splitlines()
    assert all(line.startswith(f"devices file {path}: devices[") for line in told)
    wanted = [
        "[0].id: a version-1",
        "[1].name: printable text",
        "[1].token: at most",
        "[2]: unknown field",
        "[2].gateway: true or false",
    ]
    wanted += ["[2].name: the same as that of devices[0]"]
    wanted += ["[2].id: the same", "[3]: an object"]
    for text in wanted:
        assert any(text in line for line in told), text


@pytest.mark.parametrize("text", ["", "[]", '{"devices": 1}', '{"devices": [], "more": 1}', "\x80"])
def test_a_file_of_another_shape_is_refused(path: Path, text: str) -> None:
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidSettings, match="devices file"):
        read_devices(path)
