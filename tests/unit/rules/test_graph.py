"""Cycles and reach, against the standard library's and a plain definition."""

from graphlib import CycleError, TopologicalSorter

from hypothesis import given
from hypothesis import strategies as st

from edgeferry.rules.graph import cycles, reached

Graph = dict[str, set[str]]
graphs = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=14).map(
    lambda edges: {node: {b for a, b in edges if a == node} for node in "abcdef"}
)


@given(graphs)
def test_a_cycle_is_found_if_there_is_one(graph: Graph) -> None:
    try:
        TopologicalSorter(graph).prepare()
        acyclic = True
    except CycleError:
        acyclic = False
    assert (cycles(graph) == []) == acyclic


@given(graphs)
def test_what_is_told_is_a_cycle(graph: Graph) -> None:
    for cycle in cycles(graph):
        assert len(set(cycle)) == len(cycle)
        for node, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert following in graph[node]


@given(graphs)
def test_reached_is_closed_and_holds_the_first(graph: Graph) -> None:
    found = reached(graph, "a")
    assert "a" in found
    for node in graph:
        leads_here = any(node in graph[other] for other in found)
        assert (node in found) == (leads_here or node == "a")
