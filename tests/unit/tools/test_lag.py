"""What ``edgeferry lag`` counts."""

from typing import Literal

import pytest

from edgeferry.runtime.settings import Settings
from edgeferry.tools.lag import readers
from edgeferry.tools.options import load_site_chains


@pytest.mark.parametrize(
    ("role", "first", "last"),
    [
        ("edge", ["apply"], ["attributes"]),
        ("cloud", ["intake"], ["attributes", "edge-queue"]),
    ],
)
def test_the_processors_of_a_site_stand_around_its_nodes(
    role: Literal["edge", "cloud"], first: list[str], last: list[str]
) -> None:
    settings = Settings(role=role, site=role, root_chain=f"{role}_root")
    found = readers(settings, load_site_chains(settings))
    processors = [one for one in found if not one.chain]
    assert [one.node for one in processors] == [*first, *last]
    assert [one.node for one in found[: len(first)]] == first
    assert [one.node for one in found[-len(last) :]] == last
    assert [one.group for one in processors] == [f"{role}.{one.node}" for one in processors]
    assert f"{role}.attribute-changes" in processors[len(first)].topics
    assert len(found) > len(processors)
