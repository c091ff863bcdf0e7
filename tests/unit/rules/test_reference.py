"""The reference page is the registry's."""

from edgeferry.rules.reference import PAGE, reference_page
from edgeferry.rules.registry import NODES


def test_the_committed_page_is_what_the_registry_makes() -> None:
    assert PAGE.read_text() == reference_page(NODES), "run python -m edgeferry.rules.reference"


def test_every_node_has_its_line() -> None:
    lines = reference_page(NODES).splitlines()
    for name in NODES:
        assert len([line for line in lines if line.startswith(f"| `{name}` |")]) == 1
