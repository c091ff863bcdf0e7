"""Loads a site's root chain and every chain that it reaches, and checks them together.

A chain is called by its name: its file stands beside the caller's, or it is a built-in one.
None may reach itself, so what a message is inside of has an end; and a wire of a calling node
leads from an output node of the chain that it calls.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from edgeferry.core.chain import NESTING_MAX, Chain, Chains
from edgeferry.core.errors import InvalidChain
from edgeferry.core.node import FAILURE
from edgeferry.log.topics import Role
from edgeferry.rules.config import did_you_mean
from edgeferry.rules.graph import cycles
from edgeferry.rules.loader import (
    ChainFile,
    built_in_chains,
    built_in_file,
    chain_file,
    read_chain,
)
from edgeferry.rules.registry import NODES

CHAINS_MAX: Final = 64


def load_chains(name_or_path: str, role: Role | None) -> Chains:
    """The chain with all that it reaches. Raises InvalidChain with every problem of all."""
    root = chain_file(name_or_path)
    found = _Found(role)
    found.load(root)
    if not found.problems:
        found.check()
    if found.problems:
        raise InvalidChain(found.problems)
    chains = [loaded.chain for loaded in found.loaded.values()]
    return Chains(chains[0], tuple(chains[1:]))


class _Call(NamedTuple):
    """A node that calls a chain."""

    node: str
    chain: str


class _Loaded(NamedTuple):
    file: ChainFile
    chain: Chain


def _calls(chain: Chain) -> Iterator[_Call]:
    for node in chain.nodes.values():
        calls = NODES[node.type].calls
        if calls is not None:
            yield _Call(node.name, calls(node.config))


class _Found:
    """The chains by name, the root first, and what is wrong with them."""

    def __init__(self, role: Role | None) -> None:
        self._role = role
        self.loaded: dict[str, _Loaded] = {}
        self._bad: set[str] = set()
        self.problems: list[str] = []

    def load(self, root: ChainFile) -> None:
        waiting: list[tuple[ChainFile, str]] = [(root, "")]
        while waiting:
            file, called_by = waiting.pop(0)
            name = file.path.stem
            if name in self._bad or self._is_there(name, file, called_by):
                continue
            if len(self.loaded) == CHAINS_MAX:
                self._report(root, "", f"it reaches more than {CHAINS_MAX} chains")
                return
            try:
                chain = read_chain(file, self._role)
            except InvalidChain as error:
                self.problems += error.problems
                self._bad.add(name)
                continue
            self.loaded[name] = _Loaded(file, chain)
            for call in _calls(chain):
                path = f"nodes.{call.node}.config.chain"
                callee = self._callee(file, call.chain, path)
                if callee is not None:
                    waiting.append((callee, f"{file.label}: {path}"))

    def _is_there(self, name: str, file: ChainFile, called_by: str) -> bool:
        there = self.loaded.get(name)
        if there is not None and there.file.path.resolve() != file.path.resolve():
            self.problems.append(
                f"{called_by}: two chains are named {name}, {there.file.label} and {file.label}: "
                "rename one"
            )
        return there is not None

    def _callee(self, caller: ChainFile, name: str, path: str) -> ChainFile | None:
        beside = caller.path.parent / f"{name}.yaml"
        callee = built_in_file(name)
        if beside != callee.path and beside.is_file():
            return ChainFile(beside, str(beside))
        if callee.path.is_file():
            return callee
        known = {file.stem for file in caller.path.parent.glob("*.yaml")}
        hint = did_you_mean(name, sorted({*known, *built_in_chains()}))
        problem = f"there is no chain {name}: neither {beside} nor a built-in one{hint}"
        self._report(caller, path, problem)
        return None

    def check(self) -> None:
        following = {
            name: {call.chain for call in _calls(loaded.chain)}
            for name, loaded in self.loaded.items()
        }
        for cycle in cycles(following):
            first = self.loaded[cycle[0]]
            callee = cycle[1] if len(cycle) > 1 else cycle[0]
            node = next(call.node for call in _calls(first.chain) if call.chain == callee)
            way = " -> ".join((*cycle, cycle[0]))
            self._report(first.file, f"nodes.{node}.config.chain", f"a chain reaches itself: {way}")
        if self.problems:
            return
        self._check_depth(following)
        for loaded in self.loaded.values():
            self._check_relations(loaded)

    def _check_depth(self, following: dict[str, set[str]]) -> None:
        depths: dict[str, int] = {}

        def depth(name: str) -> int:
            if name not in depths:
                depths[name] = max((1 + depth(callee) for callee in following[name]), default=0)
            return depths[name]

        root = next(iter(self.loaded))
        if depth(root) > NESTING_MAX:
            problem = f"chains are nested {depth(root)} deep: at most {NESTING_MAX} are allowed"
            self._report(self.loaded[root].file, "", problem)

    def _check_relations(self, loaded: _Loaded) -> None:
        """Of the wires that begin at calling nodes."""
        called = {call.node: call.chain for call in _calls(loaded.chain)}
        for index, wire in enumerate(loaded.chain.wires):
            if wire.source not in called:
                continue
            callee = self.loaded[called[wire.source]].chain
            outputs = [name for name, node in callee.nodes.items() if NODES[node.type].returns]
            if wire.relation.lower() not in (FAILURE.lower(), *outputs):
                known = did_you_mean(wire.relation.lower(), outputs)
                there = f"; there are {', '.join(outputs)}" if outputs else "; it has none"
                self._report(
                    loaded.file,
                    f"wires[{index}].relation",
                    f"chain {callee.name} has no output node {wire.relation}{known or there}",
                )

    def _report(self, file: ChainFile, path: str, problem: str) -> None:
        self.problems.append(": ".join(part for part in (file.label, path, problem) if part))
