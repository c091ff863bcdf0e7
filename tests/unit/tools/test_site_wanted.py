"""Which rule nodes a process runs."""

import pytest

from edgeferry.core.chain import Chain, ChainNode, Chains
from edgeferry.core.errors import InvalidSettings
from edgeferry.tools.site_wanted import ALL_NODES, Wanted, wanted_nodes

NODES = {name: ChainNode(name, "log", None) for name in ("first", "last")}
TOP, INNER = (Chain(name, 1, "first", NODES, ()) for name in ("top", "inner"))
CHAINS = Chains(TOP, (INNER,))


def test_all_are_those_of_every_chain_or_of_the_one_that_is_named() -> None:
    everything = Wanted(nodes=(ALL_NODES,))
    assert wanted_nodes("edge", CHAINS, everything) == [(TOP, None), (INNER, None)]
    inner = Wanted(nodes=(ALL_NODES,), chain="inner")
    assert wanted_nodes("edge", CHAINS, inner) == [(INNER, None)]


def test_single_nodes_are_of_the_root_chain_or_of_the_one_that_is_named() -> None:
    assert wanted_nodes("edge", CHAINS, Wanted(nodes=("last",))) == [(TOP, ("last",))]
    inner = Wanted(nodes=("first", "last"), chain="inner")
    assert wanted_nodes("edge", CHAINS, inner) == [(INNER, ("first", "last"))]


def test_a_chain_or_a_node_that_the_site_has_not_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="no chain other; it has top, inner"):
        wanted_nodes("edge", CHAINS, Wanted(nodes=("first",), chain="other"))
    with pytest.raises(InvalidSettings, match="chain top has no node save; it has first, last"):
        wanted_nodes("edge", CHAINS, Wanted(nodes=("save", "first")))
