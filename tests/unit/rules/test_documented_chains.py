"""The chains of the documents are good ones, those that they call among them."""

import re
from pathlib import Path

from edgeferry.rules.nesting import load_chains

PAGE = Path(__file__).parents[3] / "docs" / "chains.md"


def test_every_chain_of_the_documents_loads(tmp_path: Path) -> None:
    texts = re.findall(r"```yaml\n(chain: (\S+).*?)```", PAGE.read_text(), re.DOTALL)
    for text, name in texts:
        (tmp_path / f"{name}.yaml").write_text(text)
    loaded = [load_chains(str(tmp_path / f"{name}.yaml"), "edge") for _, name in texts]
    assert len(loaded) >= 3
    assert any(chains.nested for chains in loaded)
