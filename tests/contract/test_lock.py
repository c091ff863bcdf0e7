"""requirements.lock: in step with pyproject.toml and with what is installed, every file by its
hash, and free of addresses, so that it serves behind any mirror."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PINNED = dict(re.findall(r"^(\S+)==([^\s;]+)", LOCK, re.M))


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras.values() for line in extra)]


@pytest.mark.parametrize("line", wanted())
def test_the_lock_has_a_version_that_the_project_allows(line: str) -> None:
    requirement = Requirement(line)
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


def test_the_locked_versions_are_the_installed_ones() -> None:
    assert {name: version(name) for name in PINNED} == PINNED


def test_every_requirement_has_hashes_and_no_address() -> None:
    statements = [
        line for line in LOCK.replace("\\\n", " ").splitlines() if not line.startswith("#")
    ]
    assert len(statements) == len(PINNED)
    for statement in statements:
        assert re.fullmatch(r"\S+==\S+( +; [^#@]+?)?( +--hash=sha256:[0-9a-f]{64})+ *", statement)
