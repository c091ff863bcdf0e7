"""The file with the keys and secrets by which devices ask for credentials."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.provision_profiles import ProvisionProfiles, Strategy, read_profiles

PUMP = {
    "profile": "pump",
    "key": "k-pump",
    "secret": "s-pump-1",
    "strategy": "ALLOW_CREATE_NEW_DEVICES",
}
VALVE = {
    "profile": "valve",
    "key": "k-valve",
    "secret": "s-valve-1",
    "strategy": "CHECK_PRE_PROVISIONED_DEVICES",
}


def written(path: Path, *rows: dict[str, Any]) -> Path:
    file = path / "provisioning.json"
    file.write_text(json.dumps({"profiles": rows}))
    return file


def test_a_profile_is_found_by_its_key_and_its_secret(tmp_path: Path) -> None:
    profiles = ProvisionProfiles(written(tmp_path, PUMP, VALVE))
    found = profiles.find("k-valve", "s-valve-1")
    assert found is not None
    assert (found.profile, found.strategy) == ("valve", Strategy.CHECK)
    for key, secret in (("k-valve", "s-pump-1"), ("", ""), ("k-pump", "\ud800"), ("ä", "s")):
        assert profiles.find(key, secret) is None


def test_a_file_that_changes_is_read_again_and_one_that_breaks_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, PUMP)
    profiles = ProvisionProfiles(file)
    written(tmp_path, VALVE)
    os.utime(file, ns=(1, 1))
    assert profiles.find("k-pump", "s-pump-1") is None
    assert profiles.find("k-valve", "s-valve-1") is not None
    file.write_text("{")
    os.utime(file, ns=(2, 2))
    for _ in range(2):
        assert profiles.find("k-valve", "s-valve-1") is not None
    assert caplog.text.count("are provisioned as before") == 1
    file.unlink()
    assert profiles.find("k-valve", "s-valve-1") is not None


WRONG = {
    "no list": ({"profiles": {}}, "one object is wanted"),
    "something beside": ({"profiles": [], "more": 1}, "one object is wanted"),
    "a field too few": ({"profiles": [{"profile": "p"}]}, "profiles[0]: an object with"),
    "a field too many": ({"profiles": [PUMP | {"x": 1}]}, "profiles[0]: an object with"),
    "a blank key": ({"profiles": [PUMP | {"key": " "}]}, "profiles[0].key: printable"),
    "a number": ({"profiles": [PUMP | {"key": 7}]}, "profiles[0].key: printable"),
    "a long profile": ({"profiles": [PUMP | {"profile": "p" * 256}]}, "at most 255"),
    "a short secret": ({"profiles": [PUMP | {"secret": "short"}]}, "at least 8 characters"),
    "a key twice": ({"profiles": [PUMP, VALVE | {"key": "k-pump"}]}, "profiles[1].key: the same"),
    "another strategy": ({"profiles": [PUMP | {"strategy": "ANY"}]}, "ALLOW_CREATE_NEW_DEVICES or"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, case: tuple[Any, str]) -> None:
    document, text = case
    file = tmp_path / "provisioning.json"
    file.write_text(json.dumps(document))
    with pytest.raises(InvalidSettings) as caught:
        read_profiles(file)
    assert text in str(caught.value)
    assert str(file) in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        read_profiles(written(tmp_path, PUMP | {"key": ""}, VALVE | {"strategy": None, "key": ""}))
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="does not exist"):
        read_profiles(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff")
    with pytest.raises(InvalidSettings, match="cannot be read"):
        read_profiles(tmp_path / "bad.json")
