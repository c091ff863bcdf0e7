"""What the documents tell people to do works."""

import re
from pathlib import Path

import pytest

from edgeferry.__main__ import COMMANDS
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Output
from edgeferry.rules.loader import load_chain
from edgeferry.rules.nodes import script_filter

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_chain_of_the_documents_lets_only_hot_messages_go_on(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "chains.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    file = tmp_path / "hot.yaml"
    file.write_text(example[1])

    chain = load_chain(str(file), "edge")

    config = chain.nodes["hot"].config
    assert isinstance(config, script_filter.Config)
    for body, relation in [('{"temperature": 21}', "True"), ('{"temperature": 20}', "False")]:
        message = RuleMessage("m", "t", 1, 1, [], "X", "DEVICE", "d", {}, "JSON", body)
        (left,) = script_filter.process(message, config)
        assert isinstance(left, Output)
        assert left.relation == relation


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_and_commands_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    for command in re.findall(r"(?:^|`)edgeferry ([a-z-]+)", text, re.MULTILINE):
        assert command in COMMANDS, command
