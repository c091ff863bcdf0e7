"""docs/requirements.md names the tests that show each requirement: all of them exist, and no
requirement is without one."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "requirements.md"
FOLDER = ROOT / "tests" / "integration" / "requirements"
WANTED = [*map(str, range(1, 11)), "The shape"]


class Row(NamedTuple):
    requirement: str
    file: Path
    tests: list[str]


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        link = re.search(r"\]\(([^)]+\.py)\)", cells[-1])
        if link is not None:
            file = (PAGE.parent / link[1]).resolve()
            found.append(Row(cells[0], file, re.findall(r"`(test_\w+)`", cells[-1])))
    return found


def named_tests(file: Path) -> list[str]:
    return [
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    ]


def test_every_requirement_has_a_row_with_a_test() -> None:
    assert [row.requirement for row in rows()] == WANTED
    assert all(row.tests for row in rows())


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.requirement)
def test_the_tests_that_a_row_names_exist_and_are_named_after_it(row: Row) -> None:
    assert row.tests == named_tests(row.file)
    number = row.requirement
    prefix = f"test_requirement_{int(number):02}_" if number.isdigit() else "test_shape_"
    assert all(name.startswith(prefix) for name in row.tests)


def test_every_test_of_a_requirement_is_named_on_the_page() -> None:
    assert {row.file for row in rows()} == set(FOLDER.glob("test_*.py"))
