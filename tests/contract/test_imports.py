"""Which folder may import which library. (The arrow between the folders themselves is in
pyproject.toml, checked by import-linter.)"""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "services" / "edgeferry"

ALLOWED = {
    "aiokafka": ("log/*", "streams/*"),
    "cassandra": ("store/cassandra*.py",),
    "click": ("tools/*", "__main__.py"),
    "confluent_kafka": ("log/*", "streams/*"),
    "fastapi": ("api/*",),
    "faust": ("streams/*",),
    "grpc": ("sync/*",),
    "mode": ("streams/*",),
    "rich": ("tools/*",),
    "sqlite3": ("files/*", "log/*", "store/*"),
}


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def imported(module: str) -> Iterator[str]:
    """Every imported module, also those imported inside functions."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


@pytest.mark.parametrize("module", modules())
def test_a_library_is_imported_only_where_it_belongs(module: str) -> None:
    libraries = {name.partition(".")[0] for name in imported(module)}
    misplaced = {
        library
        for library in libraries & ALLOWED.keys()
        if not any(fnmatch(module, pattern) for pattern in ALLOWED[library])
    }
    assert misplaced == set()


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("core/")])
def test_core_imports_the_standard_library_alone(module: str) -> None:
    others = {
        name
        for name in imported(module)
        if not name.startswith("edgeferry.core")
        and name.partition(".")[0] not in sys.stdlib_module_names
    }
    assert others == set()


def test_every_library_named_here_is_used() -> None:
    used = {name.partition(".")[0] for module in modules() for name in imported(module)}
    assert ALLOWED.keys() - used == set()
