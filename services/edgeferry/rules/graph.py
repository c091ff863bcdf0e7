"""Two questions about a chain's graph: what is reached, and what goes round in circles."""

from collections.abc import Mapping, Set


def reached(following: Mapping[str, Set[str]], first: str) -> set[str]:
    """Every node that can be come to from ``first``, itself included."""
    found = {first}
    waiting = [first]
    while waiting:
        new = following[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def cycles(following: Mapping[str, Set[str]]) -> list[list[str]]:
    """Cycles that share no node, so that each circle of wires is told at least once."""
    found: list[list[str]] = []
    told: set[str] = set()
    for start in sorted(following):
        if start in told:
            continue
        cycle = _shortest_back(following, start, told)
        if cycle:
            found.append(cycle)
            told.update(cycle)
    return found


def _shortest_back(
    following: Mapping[str, Set[str]], start: str, avoided: Set[str]
) -> list[str] | None:
    """The shortest way from ``start`` back to itself that avoids some nodes."""
    ways: list[list[str]] = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for node in sorted(following[way[-1]]):
            if node == start:
                return way
            if node not in seen and node not in avoided:
                seen.add(node)
                ways.append([*way, node])
    return None
