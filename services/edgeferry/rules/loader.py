"""Reads a chain file and checks all of it before anything starts.

A chain file says what flows where: ``chain``, ``version``, ``input``, ``nodes``, ``wires``.
Every problem is found and told with its path, not the first one only.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from edgeferry.core.chain import Chain, ChainNode, Wire
from edgeferry.core.errors import InvalidChain
from edgeferry.core.node import FAILURE, SUCCESS, NodeSpec
from edgeferry.log.topics import Role, catalogue
from edgeferry.rules.config import build_config, did_you_mean, shown
from edgeferry.rules.graph import cycles, reached
from edgeferry.rules.registry import NODES
from edgeferry.runtime.strict_yaml import SIZE_MAX, InvalidYaml, load_yaml

CHAINS: Final = Path(__file__).parent / "chains"
NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
NODES_MAX: Final = 200
WIRES_MAX: Final = 2_000
PROBLEM_MAX: Final = 2_000
_ROOT: Final = "root"


def built_in_chains() -> list[str]:
    """Names of the chains that come with the package."""
    return sorted(path.stem for path in CHAINS.glob("*.yaml"))


class ChainFile(NamedTuple):
    """Where a chain stands. label: how the file is named to people."""

    path: Path
    label: str


def load_chain(name_or_path: str, role: Role | None) -> Chain:
    """A built-in chain by its name, any other by its path; for one role, or for any (None).
    This file alone: ``rules.nesting.load_chains`` has those that it calls.

    Raises InvalidChain with every problem: of reading, of the file, of the whole."""
    return read_chain(chain_file(name_or_path), role)


def chain_file(name_or_path: str) -> ChainFile:
    """Raises InvalidChain when it names none."""
    if not name_or_path:
        names = ", ".join(built_in_chains())
        raise InvalidChain([f"a chain has no name: give a built-in one ({names}) or a file's path"])
    if not NAME.fullmatch(name_or_path):
        return ChainFile(Path(name_or_path), name_or_path)
    found = built_in_file(name_or_path)
    if not found.path.is_file():
        known = built_in_chains()
        hint = did_you_mean(name_or_path, known) or f"; there are {', '.join(known)}"
        raise InvalidChain(
            [f"no built-in chain {name_or_path}{hint}; for a file give its path, with .yaml"]
        )
    return found


def built_in_file(name: str) -> ChainFile:
    return ChainFile(CHAINS / f"{name}.yaml", f"chains/{name}.yaml")


def read_chain(file: ChainFile, role: Role | None) -> Chain:
    """Raises InvalidChain."""
    return parse_chain(_read(file.path, file.label), file.label, file.path.stem, role)


def _read(path: Path, label: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(4 * SIZE_MAX + 1)
        return data.decode()
    except FileNotFoundError:
        raise InvalidChain([f"{label}: there is no such file"]) from None
    except OSError as error:
        raise InvalidChain([f"{label}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise InvalidChain([f"{label}: not UTF-8 at byte {error.start}"]) from None
    except ValueError as error:  # a null character in the path
        raise InvalidChain([f"{label!a}: not a path: {error}"]) from None


def parse_chain(text: str, label: str, name: str, role: Role | None) -> Chain:
    """Check a chain file's text. ``label`` begins each problem; ``name`` is what the chain
    must be called (the file's name). Raises InvalidChain."""
    try:
        tree = load_yaml(text)
    except InvalidYaml as error:
        raise InvalidChain([f"{label}: {problem}" for problem in error.problems]) from None
    reader = _Reader(label, role)
    chain = reader.chain(tree, name)
    if chain is None or reader.problems:
        raise InvalidChain(reader.problems)
    return chain


class _Reader:
    """Walks through one file's tree and collects what is wrong with it."""

    def __init__(self, label: str, role: Role | None) -> None:
        self._label = label
        self._role = role
        self.problems: list[str] = []

    def report(self, path: str, problem: str) -> None:
        text = f"{path}: {problem}" if path else problem
        shown_text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:PROBLEM_MAX])
        self.problems.append(f"{self._label}: {shown_text}")

    def chain(self, tree: object, name: str) -> Chain | None:
        keys = ("chain", "version", "input", "nodes", "wires")
        if not isinstance(tree, Mapping):
            self.report("", f"expected a mapping with {', '.join(keys)}, got {shown(tree)}")
            return None
        self._keys("", tree, required=keys, optional=())
        self._name(tree, name)
        version = tree.get("version", 1)
        if type(version) is not int or not 1 <= version < 2**31:
            self.report("version", f"expected a whole number from 1 on, got {shown(version)}")
        specs, nodes = self._nodes(tree["nodes"]) if "nodes" in tree else ({}, {})
        if not specs:  # was told; without nodes every wire would be wrong
            return None
        before = len(self.problems)
        wires = self._wires(tree.get("wires", []), specs)
        self._shape(tree, specs, wires, all_wires_known=len(self.problems) == before)
        if self.problems:
            return None
        return Chain(name, version, tree["input"], nodes, tuple(wires))

    def _keys(
        self, path: str, tree: Mapping[str, Any], required: Iterable[str], optional: Iterable[str]
    ) -> None:
        known = (*required, *optional)
        for key in tree:
            if key not in known:
                hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
                self.report(_join(path, key), f"unknown key{hint}")
        for key in required:
            if key not in tree:
                self.report(_join(path, key), "missing")

    def _name(self, tree: Mapping[str, Any], name: str) -> None:
        if "chain" not in tree:
            return
        given = tree["chain"]
        if not isinstance(given, str) or not NAME.fullmatch(given):
            self.report("chain", _bad_name(given))
        elif given == _ROOT or given in catalogue()["topics"]:
            self.report("chain", f"{given} is the name of a topic of every site: choose another")
        elif given != name:
            self.report("chain", f"{given} stands in a file named {name}: give both one name")

    def _nodes(self, tree: object) -> tuple[dict[str, NodeSpec | None], dict[str, ChainNode]]:
        """The specs of all nodes named (None where the type is wrong), and the good nodes."""
        specs: dict[str, NodeSpec | None] = {}
        nodes: dict[str, ChainNode] = {}
        if not isinstance(tree, Mapping):
            self.report("nodes", f"expected a mapping of names to nodes, got {shown(tree)}")
            return specs, nodes
        if not 1 <= len(tree) <= NODES_MAX:
            self.report("nodes", f"expected 1 to {NODES_MAX} nodes, got {len(tree)}")
            return specs, nodes
        for name, node in tree.items():
            path = f"nodes.{name}"
            specs[name] = None
            if not NAME.fullmatch(name):
                self.report(path, _bad_name(name))
            if not isinstance(node, Mapping):
                self.report(path, f"expected a mapping with type and config, got {shown(node)}")
                continue
            specs[name] = spec = self._type(path, node)
            if spec is not None:
                made = self._node(path, name, node, spec)
                if made is not None:
                    nodes[name] = made
        return specs, nodes

    def _type(self, path: str, node: Mapping[str, Any]) -> NodeSpec | None:
        self._keys(path, node, required=("type",), optional=("config", "title"))
        if "type" not in node:
            return None
        type_ = node["type"]
        spec = NODES.get(type_) if isinstance(type_, str) else None
        if spec is None:
            hint = did_you_mean(type_, NODES) or f"; there are {', '.join(NODES)}"
            self.report(f"{path}.type", f"unknown node type {shown(type_)}{hint}")
        elif self._role is not None and spec.side not in ("both", self._role):
            self.report(f"{path}.type", f"{spec.type} stands only in {spec.side} chains")
        return spec

    def _node(
        self, path: str, name: str, node: Mapping[str, Any], spec: NodeSpec
    ) -> ChainNode | None:
        title = node.get("title", "")
        if not isinstance(title, str) or len(title) > 255:
            self.report(f"{path}.title", f"expected text up to 255 long, got {shown(title)}")
            title = ""
        config = build_config(
            spec.config,
            node.get("config", {}),
            lambda option, problem: self.report(_join(f"{path}.config", option), problem),
        )
        return None if config is None else ChainNode(name, spec.type, config, title)

    def _wires(self, tree: object, specs: Mapping[str, NodeSpec | None]) -> list[Wire]:
        if not isinstance(tree, list):
            self.report("wires", f"expected a list, got {shown(tree)}")
            return []
        if len(tree) > WIRES_MAX:
            self.report("wires", f"expected at most {WIRES_MAX} wires, got {len(tree)}")
            return []
        wires = []
        seen: set[tuple[str, str, str]] = set()
        for index, wire in enumerate(tree):
            path = f"wires[{index}]"
            if not isinstance(wire, Mapping):
                self.report(path, f"expected a mapping with from, relation, to, got {shown(wire)}")
                continue
            self._keys(path, wire, required=("from", "relation", "to"), optional=())
            made = self._wire(path, wire, specs)
            if made is not None:
                wires.append(made)
                self._no_repeats(path, made, seen)
        return wires

    def _wire(
        self, path: str, wire: Mapping[str, Any], specs: Mapping[str, NodeSpec | None]
    ) -> Wire | None:
        source = (
            self._known_node(f"{path}.from", wire.get("from"), specs) if "from" in wire else None
        )
        targets = self._targets(f"{path}.to", wire["to"], specs) if "to" in wire else ()
        relation = None
        if "relation" in wire:
            spec = specs[source] if source else None
            relation = self._relation(f"{path}.relation", wire["relation"], spec)
        if source is None or relation is None or not targets:
            return None
        return Wire(source, relation, targets)

    def _targets(
        self, path: str, tree: object, specs: Mapping[str, NodeSpec | None]
    ) -> tuple[str, ...]:
        if not isinstance(tree, list) or not tree:
            self.report(path, f"expected a list of nodes such as [save], got {shown(tree)}")
            return ()
        found = [
            self._known_node(f"{path}[{index}]", item, specs) for index, item in enumerate(tree)
        ]
        return tuple(name for name in found if name is not None)

    def _known_node(
        self, path: str, name: object, specs: Mapping[str, NodeSpec | None]
    ) -> str | None:
        if isinstance(name, str) and name in specs:
            return name
        self.report(path, f"there is no node {shown(name)}{did_you_mean(name, specs)}")
        return None

    def _relation(self, path: str, relation: object, spec: NodeSpec | None) -> str | None:
        """In the spelling that the node declares; as given while the node is unknown."""
        if isinstance(relation, bool):
            self.report(
                path,
                f'{shown(relation)} without quotes is no text in YAML: write "True" or "False"',
            )
            return None
        if not isinstance(relation, str) or not relation:
            self.report(path, f"expected text, got {shown(relation)}")
            return None
        if spec is None or spec.calls is not None:  # the other chain's outputs, seen by nesting
            return relation
        if spec.returns:
            self.report(path, f"{spec.type} leads back to the calling chain: no wire leaves it")
            return None
        declared = (SUCCESS, FAILURE, *spec.relations)
        for name in declared:
            if name.lower() == relation.lower():
                return name
        hint = did_you_mean(relation, declared) or f"; there are {', '.join(declared)}"
        self.report(path, f"{spec.type} has no relation {shown(relation)}{hint}")
        return None

    def _no_repeats(self, path: str, wire: Wire, seen: set[tuple[str, str, str]]) -> None:
        for target in wire.targets:
            one = (wire.source, wire.relation.lower(), target)
            if one in seen:
                self.report(
                    path, f"{wire.source} leads by {wire.relation} to {target} a second time"
                )
            seen.add(one)

    def _shape(
        self,
        tree: Mapping[str, Any],
        specs: Mapping[str, NodeSpec | None],
        wires: list[Wire],
        *,
        all_wires_known: bool,
    ) -> None:
        """What only the whole shows: cycles, and nodes that nothing leads to."""
        following: dict[str, set[str]] = {name: set() for name in specs}
        for wire in wires:
            following[wire.source].update(wire.targets)
        for cycle in cycles(following):
            self.report("wires", f"a cycle: {' -> '.join((*cycle, cycle[0]))}")
        if "input" not in tree:
            return
        first = self._known_node("input", tree["input"], specs)
        if first is None or not all_wires_known:
            return
        found = reached(following, first)
        for name in specs:
            if name not in found:
                self.report(f"nodes.{name}", f"no wire leads to it from {first}, the input")


def _bad_name(name: object) -> str:
    return (
        f"{shown(name)} is no name: small letters, digits, - and _, "
        f"beginning with a letter, at most 64"
    )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name
